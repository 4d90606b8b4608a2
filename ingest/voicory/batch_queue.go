package voicory

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	maxQueueBytes = 48 << 20 // bytes of all batches in the queue
	maxBatchBytes = 32 << 20 // bytes of one batch, unless a single page has more

	// batchDelay is the time that a batch waits for further pages. Storing one page costs as much as storing some thousand
	// rows. Batches much smaller than a row group are also written to the WAL first and compressed several times.
	batchDelay = 3 * time.Second
)

// A batch holds the rows of one portion.
type batch struct {
	dataset   schema.Dataset
	details   bool // rows are from the details of calls, not from a list
	rows      []io.Reader
	bytes     int // size of rows
	createdAt time.Time
	state     json.RawMessage // state after the last row; nil: unchanged
	progress  *Progress       // nil: not known yet
}

// absentFields are the fields that are missing in lists, by dataset.
var absentFields = map[string][]string{"calls": {"stt_minutes", "tts_characters"}, "messages": {"wa_message_id"}}

// portion returns the batch as a portion of the tenant.
func (b *batch) portion(tenant uuid.UUID) ingest.Portion {
	p := ingest.Portion{Dataset: b.dataset, Tenant: tenant, Rows: io.MultiReader(b.rows...), State: b.state}
	if !b.details {
		p.Absent = absentFields[b.dataset.Name]
	}
	return p
}

// A batchQueue holds rows that have been read and not yet been stored. Pages are added to the last batch, so that a
// portion has few pages if the API is slow and many if storing is.
type batchQueue struct {
	mu      sync.Mutex
	changed *sync.Cond // signals changes of the fields below, and the end of a context
	batches []*batch   // guarded by mu
	bytes   int        // size of all batches; guarded by mu
	closed  bool       // guarded by mu
}

func newBatchQueue() *batchQueue {
	q := &batchQueue{}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// wake makes the waiting goroutines check their contexts.
func (q *batchQueue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// close marks the end of the queue. No rows may be added after it.
func (q *batchQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// add adds rows to the last batch, or to a new one. It blocks while the queue is full, and returns the error of ctx if
// that ends first. A nil state keeps the state of the rows added before.
func (q *batchQueue) add(ctx context.Context, dataset schema.Dataset, details bool, rows []row,
	state json.RawMessage, progress *Progress) error {
	size := 0
	for _, row := range rows {
		size += len(row.raw)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > 0 && q.bytes+size > maxQueueBytes && ctx.Err() == nil {
		q.changed.Wait()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var last *batch
	if n := len(q.batches); n > 0 {
		last = q.batches[n-1]
	}
	if last == nil || last.dataset.Name != dataset.Name || last.details != details ||
		last.bytes+size > maxBatchBytes {
		last = &batch{dataset: dataset, details: details, createdAt: time.Now()}
		q.batches = append(q.batches, last)
		time.AfterFunc(batchDelay, q.wake)
	}
	last.rows = append(last.rows, &rowReader{rows: rows})
	last.bytes += size
	q.bytes += size
	if state != nil {
		last.state = state
	}
	last.progress = progress
	q.changed.Broadcast()
	return nil
}

// forEach calls take with each batch until the queue is closed and empty, ctx ends, or take returns an error.
func (q *batchQueue) forEach(ctx context.Context, take func(*batch) error) error {
	for {
		b := q.take(ctx)
		if b == nil {
			return nil
		}
		if err := take(b); err != nil {
			return err
		}
	}
}

// ready reports whether the first batch is due or the queue is closed. The caller must hold mu.
func (q *batchQueue) ready() bool {
	return q.closed || len(q.batches) > 1 || len(q.batches) == 1 && time.Since(q.batches[0].createdAt) >= batchDelay
}

// take waits until the first batch is due, and removes and returns it. It returns nil if the queue is closed and empty
// or ctx has ended.
func (q *batchQueue) take(ctx context.Context) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ready() && ctx.Err() == nil {
		q.changed.Wait()
	}
	if len(q.batches) == 0 || ctx.Err() != nil {
		return nil
	}
	b := q.batches[0]
	q.batches = q.batches[1:]
	q.bytes -= b.bytes
	q.changed.Broadcast()
	return b
}
