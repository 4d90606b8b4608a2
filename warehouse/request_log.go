package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Request is one request that was answered, as the operator may see it. Whoever makes one leaves secrets out.
type Request struct {
	ID         string        `json:"request_id"`
	At         time.Time     `json:"received_at"` // UTC
	Key        uuid.NullUUID `json:"key_id"`      // null: it came without a good key
	Tenant     uuid.NullUUID `json:"tenant_id"`   // null likewise
	Method     string        `json:"method"`
	Path       string        `json:"path"`
	Query      string        `json:"query"`
	Status     int           `json:"status"`
	DurationMS float64       `json:"duration_ms"`
	Bytes      int64         `json:"bytes"`   // of the answer's body, as sent
	Address    string        `json:"address"` // of the client
	UserAgent  string        `json:"user_agent"`
}

// requestLog holds requests until they are written down in a batch.
type requestLog struct {
	saving sync.Mutex // one writer at a time

	mu      sync.Mutex
	pending []Request
	dropped int64
}

// maxPending bounds what is held between two writes: some MB at the most.
const maxPendingRequests = 10_000

// LogRequest keeps a request for the next SaveRequests. It never waits: where too many are held, the request is dropped
// and counted.
func (w *Warehouse) LogRequest(request Request) {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	if len(w.requests.pending) >= maxPendingRequests {
		w.requests.dropped++
		return
	}
	w.requests.pending = append(w.requests.pending, request)
}

// DroppedRequests counts the requests that the log had no room for since the start.
func (w *Warehouse) DroppedRequests() int64 {
	w.requests.mu.Lock()
	defer w.requests.mu.Unlock()
	return w.requests.dropped
}

// SaveRequests writes the requests held, and when keys were last used, into the control database. Requests that cannot be
// written are dropped and counted.
func (w *Warehouse) SaveRequests(ctx context.Context) error {
	w.requests.saving.Lock()
	defer w.requests.saving.Unlock()
	w.requests.mu.Lock()
	batch := w.requests.pending
	w.requests.pending = nil
	w.requests.mu.Unlock()
	err := w.insertRequests(ctx, batch)
	if err != nil {
		w.requests.mu.Lock()
		w.requests.dropped += int64(len(batch))
		w.requests.mu.Unlock()
	}
	return errors.Join(err, w.saveKeyUses(ctx))
}

func (w *Warehouse) insertRequests(ctx context.Context, batch []Request) error {
	if len(batch) == 0 {
		return nil
	}
	text, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("save request log: %w", err)
	}
	if _, err := w.control.ExecContext(ctx, statements.Get("control/add_requests"), sql.Named("requests", string(text))); err != nil {
		return fmt.Errorf("save request log: %w", w.diagnose(err))
	}
	return nil
}

// Requests reads the log since a time, the newest limit of it, oldest first; of one tenant where that is valid.
func (w *Warehouse) Requests(ctx context.Context, since time.Time, tenant uuid.NullUUID, limit int64) ([]Request, error) {
	if err := w.SaveRequests(ctx); err != nil {
		return nil, err
	}
	rows, err := w.control.QueryContext(ctx, statements.Get("control/requests"), sql.Named("since", since), nullable("tenant", tenant), sql.Named("limit", limit))
	if err != nil {
		return nil, fmt.Errorf("read request log: %w", err)
	}
	defer rows.Close()
	requests := []Request{}
	for rows.Next() {
		var r Request
		if err := rows.Scan(&r.ID, &r.At, &r.Key, &r.Tenant, &r.Method, &r.Path, &r.Query, &r.Status, &r.DurationMS, &r.Bytes, &r.Address, &r.UserAgent); err != nil {
			return nil, fmt.Errorf("read request log: %w", err)
		}
		requests = append(requests, r)
	}
	return requests, rows.Err()
}

// ForgetRequests removes what the log has from before a time, and all but the newest most.
func (w *Warehouse) PruneRequests(ctx context.Context, before time.Time, most int64) error {
	if _, err := w.control.ExecContext(ctx, statements.Get("control/forget_requests"), sql.Named("before", before), sql.Named("most", most)); err != nil {
		return fmt.Errorf("forget old requests: %w", w.diagnose(err))
	}
	return nil
}
