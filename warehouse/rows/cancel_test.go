package rows_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A read that is cancelled at any point does not affect other reads.
func TestRead_CancelledReadsDoNotAffectOthers(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	var rows []any
	for n := range 200 {
		rows = append(rows, Call(TenantA, n, nil))
	}
	Merge(t, w, schema.Calls, rows...)
	var asked atomic.Int64
	read := func(ctx context.Context) error {
		n := asked.Add(1) // a filter that was not counted yet takes the long way
		_, err := w.List(ctx, TenantA, schema.Calls,
			warehouse.Listing{Filter: schema.Filter{Status: fmt.Sprint(n)}, Limit: 10})
		_, feedErr := w.Changes(ctx, TenantA, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 10)
		_, getErr := w.Get(ctx, TenantA, schema.Calls, uuid.MustParse(ID(1)))
		return errors.Join(err, feedErr, getErr)
	}
	var leaving, staying sync.WaitGroup
	stop := make(chan struct{})
	var left atomic.Int64
	for range 4 {
		leaving.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
				if read(ctx) != nil {
					left.Add(1)
				}
				cancel()
			}
		})
	}
	for range 4 {
		staying.Go(func() {
			for range 20 {
				if err := read(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	staying.Wait()
	close(stop)
	leaving.Wait()
	if left.Load() == 0 {
		t.Error("no read was cancelled")
	}
}

// If the first reader of a tenant is cancelled while the file is opened or created, the next reader opens it.
func TestTenant_CancelledOpen(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	for n := range 30 {
		tenant := uuid.New()
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(n)*500*time.Microsecond)
		_, _ = w.List(ctx, tenant, schema.Calls, warehouse.Listing{Limit: 1}) // however it ends
		cancel()
		_, err := w.List(t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 1})
		NoError(t, err)
	}
	NoError(t, w.Close())
	if left, _ := filepath.Glob(filepath.Join(dir, "warehouse", ".*")); len(left) > 0 {
		t.Errorf("got leftover files %v, want none", left)
	}
}
