package warehouse_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// hasWAL reports whether the tenant has changes that are not checkpointed.
func hasWAL(dir string, tenant uuid.UUID) bool {
	info, err := os.Stat(filepath.Join(dir, "warehouse", tenant.String()+".duckdb.wal"))
	return err == nil && info.Size() > 0
}

// Every way to change a tenant's file takes memory until a checkpoint, and this memory is bounded.
func TestCheckpoint_BoundsMemoryOfEveryChange(t *testing.T) {
	t.Parallel()
	const tenants = 16
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir, MemoryLimit: "100MB"})
	noError(t, err)
	mergeAll := func(row func(n int) row) {
		var rows []any
		for n := range tenants {
			rows = append(rows, row(n))
		}
		merge(t, w, schema.Calls, rows...)
	}
	each := func(change func(tenant uuid.UUID) error) error {
		var errs []error
		for n := range tenants {
			errs = append(errs, change(numbered(n)))
		}
		return errors.Join(errs...)
	}
	for _, test := range []struct {
		name   string
		change func() error
	}{
		{"new rows", func() error {
			mergeAll(func(n int) row { return call(numbered(n), n, nil) })
			return nil
		}},
		{"changed rows", func() error {
			mergeAll(func(n int) row { return call(numbered(n), n, row{"cost": 1, "summary": "changed"}) })
			return nil
		}},
		{"deleted rows", func() error {
			mergeAll(func(n int) row { return row{"user_id": numbered(n), "id": id(n), "deleted_at": time.Now()} })
			return nil
		}},
		{"record of a push", func() error {
			return each(func(tenant uuid.UUID) error {
				return w.RecordPush(t.Context(), tenant,
					warehouse.Push{Key: "key", Digest: []byte("digest"), Outcome: "{}", At: time.Now()})
			})
		}},
		{"state of a source", func() error {
			return each(func(tenant uuid.UUID) error {
				return w.SaveState(t.Context(), tenant, warehouse.State{Source: "source", Value: []byte("1")})
			})
		}},
		{"manifest", func() error {
			return each(func(tenant uuid.UUID) error {
				_, err := w.PublishTenant(t.Context(), tenant)
				return err
			})
		}},
	} {
		noError(t, test.change())
		waitUntil(t, test.name, func() bool { return memoryWithinBound(t, w) })
	}
	noError(t, w.Close())
	for n := range tenants {
		if got := query(t, dir, numbered(n), "SELECT count(*) FROM tombstones"); got != "1" {
			t.Errorf("tenant %d: got %s tombstones, want 1", n, got)
		}
	}
}

// An open snapshot prevents the checkpoint of its tenant. It neither prevents those of other tenants nor stops writers.
func TestCheckpoint_OpenSnapshot(t *testing.T) {
	t.Parallel()
	const tenants = 16
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir, MemoryLimit: "100MB"})
	noError(t, err)
	merge(t, w, schema.Calls, call(numbered(0), 0, nil))
	snapshot, err := w.Snapshot(t.Context(), numbered(0))
	noError(t, err)
	noError(t, snapshot.Conn.QueryRowContext(t.Context(), "SELECT count(*) FROM calls").Scan(new(int)))
	for round := range 3 {
		var rows []any
		for n := range tenants {
			rows = append(rows, call(numbered(n), n, row{"cost": round}))
		}
		merge(t, w, schema.Calls, rows...)
	}
	waitUntil(t, "memory of changes", func() bool { return memoryWithinBound(t, w) })
	noError(t, snapshot.Close())
	noError(t, w.Close())
	for n := range tenants {
		if got := query(t, dir, numbered(n), "SELECT cost::INTEGER FROM calls"); got != "2" {
			t.Errorf("tenant %d: got cost %s, want 2", n, got)
		}
	}
}

// The tenants that were used last stay as they are.
func TestCheckpoint_LeastRecentlyUsedFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir, MemoryLimit: "60MB"})
	noError(t, err)
	last := 0
	merge(t, w, schema.Calls, call(numbered(0), 0, nil))
	waitUntil(t, "checkpoint of the first tenant", func() bool {
		last++
		merge(t, w, schema.Calls, call(numbered(last), last, nil))
		return !hasWAL(dir, numbered(0))
	})
	if !hasWAL(dir, numbered(last)) {
		t.Error("got a checkpoint of the tenant that was used last, want those of other tenants")
	}
	noError(t, w.Close())
}

func memoryWithinBound(t *testing.T, w *warehouse.Warehouse) bool {
	t.Helper()
	used, bound, err := w.MemoryOfChanges(t.Context())
	noError(t, err)
	return used <= bound
}

// waitUntil waits for the condition, for at most 5 minutes.
func waitUntil(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: the condition does not become true", what)
		case <-time.After(time.Millisecond):
		}
	}
}
