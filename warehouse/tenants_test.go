package warehouse_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A damaged file fails the calls for its tenant, each with an error that names the tenant, until the file is repaired.
// Other tenants are not affected.
func TestTenants_DamagedFileAffectsOneTenant(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil), call(tenantB, 2, nil))
	noError(t, w.Close())
	path := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
	whole, err := os.ReadFile(path)
	noError(t, err)
	noError(t, os.WriteFile(path, []byte("no database"), 0o644))

	w = open(t, dir)
	list := func(tenant uuid.UUID) (warehouse.Page, error) {
		return w.List(t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 10})
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if _, err := list(tenantA); err == nil || !strings.Contains(err.Error(), tenantA.String()) {
				t.Errorf("damaged file: got error %v, want one that names tenant %s", err, tenantA)
			}
		})
		readers.Go(func() {
			page, err := list(tenantB)
			if err != nil || len(page.Items) != 2 {
				t.Errorf("other tenant: got %d calls and error %v, want 2 calls", len(page.Items), err)
			}
		})
	}
	readers.Wait()
	noError(t, os.WriteFile(path, whole, 0o644))
	page, err := list(tenantA)
	if err != nil || len(page.Items) != 1 {
		t.Errorf("repaired file: got %d calls and error %v, want 1 call", len(page.Items), err)
	}
	noError(t, w.Close())
}

// While the DETACH of a tenant is under way, all other tenants are opened, and an open of this tenant waits.
func TestTenantPool_OpensOtherTenantsDuringDetach(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	w.SetMaxAttached(2)
	for n := range 4 {
		merge(t, w, schema.Calls, call(numbered(n), n, nil))
	}
	noError(t, w.OpenTenant(t.Context(), numbered(0)))
	noError(t, w.OpenTenant(t.Context(), numbered(1))) // attached now: 0 and 1

	started, finish := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.HookDetach(func(id uuid.UUID) error {
		if id == numbered(0) {
			once.Do(func() {
				close(started)
				<-finish
			})
		}
		return nil
	}, func(uuid.UUID) error { return nil })
	opened := make(chan error, 2)
	go func() { opened <- w.OpenTenant(t.Context(), numbered(2)) }() // detaches tenant 0
	<-started

	for _, n := range []int{1, 3, 1} { // attached; not attached and detaches another tenant; the same
		noError(t, w.OpenTenant(t.Context(), numbered(n)))
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.OpenTenant(cancelled, numbered(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("open of the tenant that is detached: got %v, want %v", err, context.Canceled)
	}
	go func() { opened <- w.OpenTenant(t.Context(), numbered(0)) }()
	select {
	case err := <-opened:
		t.Errorf("got an open that returns before the DETACH it waits for, with error %v", err)
	default:
	}
	close(finish)
	for range 2 {
		noError(t, <-opened)
	}
	for n := range 4 {
		wantCallCount(t, w, numbered(n), 1)
	}
}

// If a DETACH fails, both tenants are usable, and a later DETACH of the same tenant is tried.
func TestTenantPool_FailedDetach(t *testing.T) {
	t.Parallel()
	for name, attached := range map[string]bool{"still attached": true, "detached": false} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir)
			w.SetMaxAttached(1)
			failed := 0
			fail := func(fails bool) func(uuid.UUID) error {
				return func(id uuid.UUID) error {
					if fails && id == numbered(0) {
						failed++
						return errors.New("no space left on device")
					}
					return nil
				}
			}
			w.HookDetach(fail(attached), fail(!attached))
			merge(t, w, schema.Calls, call(numbered(0), 1, nil))
			merge(t, w, schema.Calls, call(numbered(1), 1, nil)) // the DETACH of tenant 0 fails
			if failed != 1 {
				t.Fatalf("got %d failed DETACH, want 1", failed)
			}
			wantCallCount(t, w, numbered(0), 1)
			merge(t, w, schema.Calls, call(numbered(0), 2, nil))
			wantCallCount(t, w, numbered(1), 1)

			w.HookDetach(fail(false), fail(false))
			for _, n := range []int{2, 3, 2} { // one more tenant than the bound is attached, and the oldest is detached
				noError(t, w.OpenTenant(t.Context(), numbered(n)))
			}
			if _, attached := w.Attached(numbered(0)); attached {
				t.Error("got tenant 0 attached, want it detached by a later DETACH")
			}
			wantCallCount(t, w, numbered(0), 2)
			noError(t, w.Close())
			want(t, query(t, dir, numbered(0), "SELECT count(*) FROM calls"), "2")
		})
	}
}

// A tenant is in the list as soon as it has a file, whatever creates the file, and after the list was lost.
func TestTenants_ListedWithFirstRowOrState(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	creates := map[string]func(tenant uuid.UUID) error{
		"rows of a tenant": func(tenant uuid.UUID) error {
			_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant,
				Rows: lines(t, row{"id": id(1), "created_at": "2026-01-01"})})
			return err
		},
		"rows of many tenants": func(tenant uuid.UUID) error {
			_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Rows: lines(t, call(tenant, 1, nil))})
			return err
		},
		"state": func(tenant uuid.UUID) error {
			return w.SaveState(t.Context(), tenant, warehouse.State{Source: "x", Value: []byte("1")})
		},
		"files": func(tenant uuid.UUID) error {
			return w.SaveState(t.Context(), tenant, warehouse.State{Source: "x", Files: []uint64{1}})
		},
		"push": func(tenant uuid.UUID) error {
			return w.RecordPush(t.Context(), tenant, warehouse.Push{Key: "x", Outcome: "{}", At: time.Now()})
		},
		"state before rows": func(tenant uuid.UUID) error {
			if err := w.SaveState(t.Context(), tenant, warehouse.State{Source: "x", Value: []byte("1")}); err != nil {
				return err
			}
			_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Rows: lines(t, call(tenant, 1, nil))})
			return err
		},
	}
	count := func(want int) {
		t.Helper()
		tenants, err := w.Tenants(t.Context())
		noError(t, err)
		if len(tenants) != want {
			t.Errorf("got %d tenants, want %d: %v", len(tenants), want, tenants)
		}
	}
	listed := 0
	for name, create := range creates {
		t.Run(name, func(t *testing.T) {
			tenant := uuid.New()
			_, err := w.SourceState(t.Context(), tenant, "x")
			noError(t, err)
			_, err = w.SourceFiles(t.Context(), tenant, "x")
			noError(t, err)
			count(listed) // reading a state creates no tenant
			noError(t, create(tenant))
			listed++
			count(listed)
		})
	}
	noError(t, w.Close())
	execFile(t, filepath.Join(dir, "control.duckdb"), "DELETE FROM tenants")
	w = open(t, dir)
	count(listed)
	noError(t, w.Close())
}

// The first use of a tenant's file sets its block size. Later rows do not change it.
func TestTenants_BlockSizeOfNewFile(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	var many []any
	for n := range 8192 {
		many = append(many, call(tenantB, n, nil))
	}
	read := uuid.UUID{15: 3}
	for _, tenant := range []uuid.UUID{tenantA, read} { // neither a key nor the search for customers creates a file
		_, _, err := w.CreateKey(t.Context(), tenant, control.Secret, control.KeySettings{})
		noError(t, err)
	}
	_, err := w.CustomersAfter(t.Context(), warehouse.Customer{}, 10)
	noError(t, err)
	_, err = w.PublishedFiles(t.Context(), read)
	noError(t, err)
	merge(t, w, schema.Calls, append(many, call(tenantA, 1, nil), call(read, 1, nil))...)
	merge(t, w, schema.Calls, call(tenantB, 1, row{"status": "failed"}))
	noError(t, w.Close())
	w = open(t, dir) // files of both sizes can be attached at the same time
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		merge(t, w, schema.Calls, call(tenant, 1, row{"status": "busy"}))
	}
	noError(t, w.Close())
	for tenant, block := range map[uuid.UUID]int{tenantA: 64 << 10, tenantB: 256 << 10, read: 64 << 10} {
		path := filepath.Join(dir, "warehouse", tenant.String()+".duckdb")
		db, err := sql.Open("duckdb", path+"?access_mode=read_only")
		noError(t, err)
		var size int
		noError(t, db.QueryRowContext(t.Context(), "SELECT block_size FROM pragma_database_size()").Scan(&size))
		noError(t, db.Close())
		if size != block {
			t.Errorf("tenant %s: got blocks of %d bytes, want %d", tenant, size, block)
		}
	}
}

// A batch may have rows of more tenants than can be attached at the same time.
func TestMerge_MoreTenantsThanAttached(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	w.SetMaxAttached(8)
	const tenants = 70 // more than are merged together
	var rows []any
	for n := range tenants {
		rows = append(rows, call(numbered(n), n, nil))
	}
	wantCounts(t, merge(t, w, schema.Calls, rows...), schema.Counts{Read: tenants, New: tenants})
	wantCounts(t, merge(t, w, schema.Calls, rows...), schema.Counts{Read: tenants, Unchanged: tenants})
	if got := publish(t, w); got.Files != 2*tenants {
		t.Fatalf("got %+v published, want %d files", got, 2*tenants)
	}
	if n, _ := w.Attached(tenantA); n == tenants {
		t.Errorf("got all %d tenants attached, want some detached", n)
	}
	noError(t, w.Close())
	const published = "read_parquet('{lake}/tenant_id=*/calls/*/*.parquet')"
	want(t, queryLake(t, dir, "SELECT [count(*), count(DISTINCT tenant_id)] FROM "+published),
		fmt.Sprintf("[%d, %[1]d]", tenants))
}

// Beyond the limit, the pool detaches the least recently used tenant. Its rows stay readable.
func TestTenantPool_DetachesLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	const limit, tenants = 4, 10
	w.SetMaxAttached(limit)
	for n := range tenants {
		merge(t, w, schema.Calls, call(numbered(n), n, nil))
	}
	read := func(n int) {
		t.Helper()
		page, err := w.List(t.Context(), numbered(n), schema.Calls, warehouse.Listing{Limit: 10})
		noError(t, err)
		if page.Total != 1 {
			t.Errorf("tenant %d: got %d rows, want 1", n, page.Total)
		}
		if attached, _ := w.Attached(numbered(n)); attached > limit {
			t.Errorf("got %d tenants attached, want at most %d", attached, limit)
		}
	}
	for n := range tenants {
		read(n)
	}
	for n := range limit {
		read(n)
	}
	read(0)
	read(limit) // detaches tenant 1, because tenant 0 was read again
	for n, want := range []bool{true, false, true, true, true} {
		if _, got := w.Attached(numbered(n)); got != want {
			t.Errorf("tenant %d attached: got %t, want %t", n, got, want)
		}
	}
}
