package control

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

// A Request is an entry of the request log. The caller removes secrets before it creates one.
type Request struct {
	ID         string        `json:"request_id"`
	At         time.Time     `json:"received_at"` // UTC
	Key        uuid.NullUUID `json:"key_id"`      // null: the request had no valid key
	Tenant     uuid.NullUUID `json:"tenant_id"`   // null: the request had no valid key
	Method     string        `json:"method"`
	Path       string        `json:"path"`
	Query      string        `json:"query"`
	Status     int           `json:"status"`
	DurationMS float64       `json:"duration_ms"`
	Bytes      int64         `json:"bytes"`   // bytes of the response body as sent, after compression
	Address    string        `json:"address"` // address of the client
	UserAgent  string        `json:"user_agent"`
}

// A requestLog buffers requests until they are written to the control database in a batch.
type requestLog struct {
	saving sync.Mutex // held while a batch is written; taken before mu

	mu      sync.Mutex // guards the fields below
	pending []Request
	shares  map[uuid.NullUUID]int // pending requests by tenant
	dropped int64                 // requests that were not logged
}

// Bounds of the buffer, which is a few megabytes: requests of all tenants, and of one. Requests without a key count as
// those of one tenant.
const (
	maxPendingRequests       = 10_000
	maxPendingTenantRequests = maxPendingRequests / 2
)

// keylessRatio is the bound of entries with a valid key, divided by that of entries without one.
const keylessRatio = 20

// LogRequest adds a request to the buffer that SaveRequests writes. It never blocks: if the buffer, or the tenant's
// share of it, is full, the request is dropped and counted.
func (d *DB) LogRequest(request Request) {
	d.requests.mu.Lock()
	defer d.requests.mu.Unlock()
	if len(d.requests.pending) >= maxPendingRequests ||
		d.requests.shares[request.Tenant] >= maxPendingTenantRequests {
		d.requests.dropped++
		return
	}
	if d.requests.shares == nil {
		d.requests.shares = map[uuid.NullUUID]int{}
	}
	d.requests.shares[request.Tenant]++
	d.requests.pending = append(d.requests.pending, request)
}

// DroppedRequests returns the number of requests that were not logged since the start.
func (d *DB) DroppedRequests() int64 {
	d.requests.mu.Lock()
	defer d.requests.mu.Unlock()
	return d.requests.dropped
}

// SaveRequests writes the buffered requests and the last uses of keys to the control database. If the requests cannot
// be written, they are dropped and counted.
func (d *DB) SaveRequests(ctx context.Context) error {
	d.requests.saving.Lock()
	defer d.requests.saving.Unlock()
	d.requests.mu.Lock()
	batch := d.requests.pending
	d.requests.pending, d.requests.shares = nil, nil
	d.requests.mu.Unlock()
	err := d.insertRequests(ctx, batch)
	if err != nil {
		d.requests.mu.Lock()
		d.requests.dropped += int64(len(batch))
		d.requests.mu.Unlock()
	}
	return errors.Join(err, d.saveKeyUses(ctx))
}

// insertRequests inserts a batch of requests into the log.
func (d *DB) insertRequests(ctx context.Context, batch []Request) error {
	if len(batch) == 0 {
		return nil
	}
	text, err := json.Marshal(batch)
	if err != nil {
		return fmt.Errorf("save request log: %w", err)
	}
	_, err = d.db.ExecContext(ctx, statements.Get("control/insert_requests"), sql.Named("requests", string(text)))
	if err != nil {
		return fmt.Errorf("save request log: %w", err)
	}
	return nil
}

// Requests returns the newest entries of the log since a time, at most limit, oldest first. If tenant is valid, it
// returns entries of that tenant only.
func (d *DB) Requests(
	ctx context.Context, since time.Time, tenant uuid.NullUUID, limit int64,
) ([]Request, error) {
	if err := d.SaveRequests(ctx); err != nil {
		return nil, err
	}
	var only any // NULL: every tenant
	if tenant.Valid {
		only = tenant.UUID.String()
	}
	rows, err := d.db.QueryContext(ctx, statements.Get("control/select_requests"),
		sql.Named("since", since), sql.Named("tenant", only), sql.Named("limit", limit))
	if err != nil {
		return nil, fmt.Errorf("read request log: %w", err)
	}
	defer rows.Close()
	requests := []Request{}
	for rows.Next() {
		var r Request
		if err := rows.Scan(&r.ID, &r.At, &r.Key, &r.Tenant, &r.Method, &r.Path, &r.Query, &r.Status,
			&r.DurationMS, &r.Bytes, &r.Address, &r.UserAgent); err != nil {
			return nil, fmt.Errorf("read request log: %w", err)
		}
		requests = append(requests, r)
	}
	return requests, rows.Err()
}

// RedactRequests replaces the path and the query of the entries of the log with those that redact returns. redact gets
// the tenant, the path and the query of an entry only. It returns the number of entries that were changed.
func (d *DB) RedactRequests(ctx context.Context, redact func(Request) Request) (changed int64, err error) {
	if err := d.SaveRequests(ctx); err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("redact request log: %w", err)
		}
	}()
	rows, err := d.db.QueryContext(ctx, statements.Get("control/select_request_texts"))
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	type change struct {
		Tenant   uuid.NullUUID `json:"tenant_id"`
		Path     string        `json:"path"`
		Query    string        `json:"query"`
		NewPath  string        `json:"new_path"`
		NewQuery string        `json:"new_query"`
	}
	var changes []change
	for rows.Next() {
		var r Request
		if err := rows.Scan(&r.Tenant, &r.Path, &r.Query); err != nil {
			return 0, err
		}
		if to := redact(r); to.Path != r.Path || to.Query != r.Query {
			changes = append(changes, change{r.Tenant, r.Path, r.Query, to.Path, to.Query})
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(changes) == 0 {
		return 0, err // the only connection is free again for the update
	}
	text, err := json.Marshal(changes)
	if err != nil {
		return 0, err
	}
	result, err := d.db.ExecContext(ctx, statements.Get("control/update_request_texts"),
		sql.Named("changes", string(text)))
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// PruneRequests removes entries of the log that are older than retention, by a clock that the log confirms. Then most
// is the maximum number of entries with a valid key: above it, PruneRequests removes the oldest entries of the tenants
// with the largest numbers of entries. Entries without a valid key have a separate bound, a small part of most, so they
// never displace entries with a key. The search for these entries takes long. It does not occupy the connection that
// writes.
func (d *DB) PruneRequests(ctx context.Context, retention time.Duration, most int64) error {
	before := d.clock.at(time.Now(), time.Since(d.clock.started)).Add(-retention)
	cuts, err := d.prunable(ctx, most)
	if err != nil {
		return fmt.Errorf("prune request log: %w", err)
	}
	text, err := json.Marshal(cuts)
	if err != nil {
		return fmt.Errorf("prune request log: %w", err)
	}
	_, err = d.db.ExecContext(ctx, statements.Get("control/prune_requests"),
		sql.Named("before", before), sql.Named("cuts", string(text)))
	if err != nil {
		return fmt.Errorf("prune request log: %w", err)
	}
	return nil
}

// A logCut names the entries of a tenant, or those without a valid key, up to a time.
type logCut struct {
	Keyless bool      `json:"keyless"`
	Owner   *string   `json:"owner"`
	Until   time.Time `json:"until"`
}

// prunable returns the entries that exceed the bounds of PruneRequests.
func (d *DB) prunable(ctx context.Context, most int64) (cuts []logCut, err error) {
	cuts = []logCut{}
	rows, err := d.reading.QueryContext(ctx, statements.Get("control/select_prunable"),
		sql.Named("most", most), sql.Named("keyless", most/keylessRatio))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var cut logCut
		if err := rows.Scan(&cut.Keyless, &cut.Owner, &cut.Until); err != nil {
			return nil, err
		}
		cuts = append(cuts, cut)
	}
	return cuts, rows.Err()
}
