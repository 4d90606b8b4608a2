package warehouse_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

// A countedContext is cancelled when it has been asked for its end a number of times.
type countedContext struct {
	context.Context
	cancel context.CancelFunc
	left   *atomic.Int64
}

func (c countedContext) Done() <-chan struct{} {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Context.Done()
}

// An Open that is cancelled at any point returns, and leaves the folder to the next one.
func TestOpen_CancelledAtAnyPoint(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	const step = 2
	for n := int64(1); ; n += step {
		ctx, cancel := context.WithCancel(t.Context())
		left := &atomic.Int64{}
		left.Store(n)
		w, err := warehouse.Open(countedContext{ctx, cancel, left}, warehouse.Options{Dir: dir})
		cancel()
		if err == nil {
			noError(t, w.Close())
			if left.Load() > 0 { // it was never cancelled
				return
			}
			continue
		}
		if left.Load() > 0 {
			t.Fatalf("got %v, and the context was not cancelled", err)
		}
	}
}
