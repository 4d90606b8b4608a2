package voicory

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

const (
	queueBytes = 48 << 20 // that may wait for being taken
	batchBytes = 32 << 20 // that are taken at once, unless one page has more
	// gather is how long pages wait for those behind them: to take a page costs as much as to take some thousand rows, and rows of
	// portions that are small against a row group are written to the log first, and packed several times.
	gather = 3 * time.Second
)

// batch is one portion in the making.
type batch struct {
	dataset  warehouse.Dataset
	details  bool
	rows     []io.Reader
	bytes    int
	began    time.Time
	state    json.RawMessage
	progress *Progress
}

// absent are the fields that no list has.
var absent = map[string][]string{"calls": {"stt_minutes", "tts_characters"}, "messages": {"wa_message_id"}}

func (b *batch) portion(tenant uuid.UUID) ingest.Portion {
	p := ingest.Portion{Dataset: b.dataset, Tenant: tenant, Rows: io.MultiReader(b.rows...), State: b.state}
	if !b.details {
		p.Absent = absent[b.dataset.Name]
	}
	return p
}

// queue holds what was read and is still to be taken. Pages that wait grow together, so that a portion is few pages where the API is
// the slower, and many where the taking is.
type queue struct {
	mu     sync.Mutex
	change *sync.Cond
	wait   []*batch
	bytes  int
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.change = sync.NewCond(&q.mu)
	return q
}

// wake makes those who wait look at their context.
func (q *queue) wake() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.change.Broadcast()
}

// close says that nothing more comes.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.change.Broadcast()
}

// add waits for room. A batch without a state leaves that of the one before.
func (q *queue) add(ctx context.Context, dataset warehouse.Dataset, details bool, rows []row, state json.RawMessage, progress *Progress) error {
	size := 0
	for _, row := range rows {
		size += len(row.raw)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.bytes > 0 && q.bytes+size > queueBytes && ctx.Err() == nil {
		q.change.Wait()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var last *batch
	if n := len(q.wait); n > 0 {
		last = q.wait[n-1]
	}
	if last == nil || last.dataset.Name != dataset.Name || last.details != details || last.bytes+size > batchBytes {
		last = &batch{dataset: dataset, details: details, began: time.Now()}
		q.wait = append(q.wait, last)
		time.AfterFunc(gather, q.wake)
	}
	last.rows = append(last.rows, &lines{rows: rows})
	last.bytes += size
	q.bytes += size
	if state != nil {
		last.state = state
	}
	last.progress = progress
	q.change.Broadcast()
	return nil
}

// drain gives each batch to take until the queue is closed and empty, or the context ends.
func (q *queue) drain(ctx context.Context, take func(*batch) error) error {
	for {
		b := q.next(ctx)
		if b == nil {
			return nil
		}
		if err := take(b); err != nil {
			return err
		}
	}
}

// ready tells whether the first batch is to be taken, or none will come.
func (q *queue) ready() bool {
	return q.closed || len(q.wait) > 1 || len(q.wait) == 1 && time.Since(q.wait[0].began) >= gather
}

func (q *queue) next(ctx context.Context) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ready() && ctx.Err() == nil {
		q.change.Wait()
	}
	if len(q.wait) == 0 || ctx.Err() != nil {
		return nil
	}
	b := q.wait[0]
	q.wait = q.wait[1:]
	q.bytes -= b.bytes
	q.change.Broadcast()
	return b
}
