package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// WithDetached waits for the readers of a tenant, and keeps new ones waiting until its function has returned.
func TestWithDetached_ExcludesReaders(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	path := filepath.Join(w.Dir(), "warehouse", tenantA.String()+".duckdb")

	old, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	inside, counted := make(chan struct{}), make(chan error, 1)
	detached := make(chan error, 1)
	var left atomic.Bool
	go func() {
		detached <- w.WithDetached(t.Context(), tenantA, func() error {
			close(inside)
			if _, err := os.Stat(path + ".wal"); !errors.Is(err, fs.ErrNotExist) {
				return errors.New("the file was not checkpointed")
			}
			left.Store(true)
			return nil
		})
	}()
	select {
	case <-inside:
		t.Fatal("the tenant was detached during a snapshot")
	case err := <-detached:
		t.Fatal(err)
	case <-time.After(50 * time.Millisecond): // WithDetached waits for the snapshot
	}
	go func() {
		_, err := w.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 10})
		if !left.Load() {
			err = errors.New("a reader that came later did not wait")
		}
		counted <- err
	}()
	var n int
	noError(t, old.Conn.QueryRowContext(t.Context(), "SELECT count(*) FROM calls").Scan(&n))
	if n != 1 {
		t.Errorf("got %d calls in the snapshot, want 1", n)
	}
	noError(t, old.Close())
	noError(t, <-detached)
	noError(t, <-counted)
}

// Users that do not finish in time make WithDetached fail, and nothing changes.
func TestWithDetached_FailsIfReadersDoNotFinish(t *testing.T) {
	w := warehousetest.OpenNew(t)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	snapshot, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	former := warehouse.SetDrainTimeout(time.Millisecond)
	err = w.WithDetached(t.Context(), tenantA, func() error { t.Error("called"); return nil })
	warehouse.SetDrainTimeout(former)
	wantKind(t, err, warehouse.ErrBusy)
	wantCallCount(t, w, tenantA, 1)
	noError(t, snapshot.Close())
	noError(t, w.WithDetached(t.Context(), tenantA, func() error { return nil }))
	wantCallCount(t, w, tenantA, 1)
}

// A query that lists databases delays the checkpoint of a DETACH. A detached store and a file of exports are complete
// nevertheless.
func TestDetach_FilesAreCompleteWhileDatabasesAreListed(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	var lists sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	for range 2 {
		lists.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.IsAttached(t.Context(), "none"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	store := filepath.Join(w.Dir(), "warehouse", tenantA.String()+".duckdb")
	file := filepath.Join(t.TempDir(), "exports.duckdb")
	noLog := func(path string) error {
		if _, err := os.Stat(path + ".wal"); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("got a log beside %s (%w), want none", path, err)
		}
		return nil
	}
	for n := range 6 {
		merge(t, w, schema.Calls, call(tenantA, n, row{"from_number": "+49301234567"}))
		noError(t, w.WithDetached(t.Context(), tenantA, func() error { return noLog(store) }))
		_, err := w.WriteDatabase(t.Context(), tenantA, file)
		noError(t, errors.Join(err, noLog(file), os.Remove(file)))
	}
	_, err := w.Erase(t.Context(), tenantA, "+49301234567", warehouse.EraseOptions{})
	stop()
	lists.Wait()
	noError(t, err)
}
