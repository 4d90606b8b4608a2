package warehouse_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// A file that cannot be opened is the matter of those who want that tenant, each of whom is told, and only until it can be.
func TestTenantsAreOpenedApart(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	merge(t, w, warehouse.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil), call(tenantB, 2, nil))
	noError(t, w.Close())
	broken := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
	whole, err := os.ReadFile(broken)
	noError(t, err)
	noError(t, os.WriteFile(broken, []byte("no database"), 0o644))

	w = open(t, dir)
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			if _, err := w.List(t.Context(), tenantA, warehouse.Calls, warehouse.Listing{Limit: 10}); err == nil || !strings.Contains(err.Error(), tenantA.String()) {
				t.Errorf("of a broken file: %v", err)
			}
		})
		readers.Go(func() {
			page, err := w.List(t.Context(), tenantB, warehouse.Calls, warehouse.Listing{Limit: 10})
			if err != nil || len(page.Items) != 2 {
				t.Errorf("%d calls, %v", len(page.Items), err)
			}
		})
	}
	readers.Wait()
	noError(t, os.WriteFile(broken, whole, 0o644))
	page, err := w.List(t.Context(), tenantA, warehouse.Calls, warehouse.Listing{Limit: 10})
	if err != nil || len(page.Items) != 1 {
		t.Errorf("%d calls of the mended file, %v", len(page.Items), err)
	}
	noError(t, w.Close())
}

// What makes a tenant's file decides how it is divided, whatever comes later.
func TestBlocksOfSmallTenantsAreSmall(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	var many []any
	for n := range 8192 {
		many = append(many, call(tenantB, n, nil))
	}
	read := uuid.UUID{15: 3}
	for _, tenant := range []uuid.UUID{tenantA, read} { // a key makes no file, nor does the search for customers
		_, _, err := w.CreateKey(t.Context(), tenant, warehouse.Secret, warehouse.KeySettings{})
		noError(t, err)
	}
	_, err := w.CustomersAfter(t.Context(), warehouse.Customer{}, 10)
	noError(t, err)
	_, err = w.PublishedFiles(t.Context(), read)
	noError(t, err)
	merge(t, w, warehouse.Calls, append(many, call(tenantA, 1, nil), call(read, 1, nil))...)
	merge(t, w, warehouse.Calls, call(tenantB, 1, row{"status": "failed"}))
	noError(t, w.Close())
	w = open(t, dir) // one size does not keep the other from being opened
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		merge(t, w, warehouse.Calls, call(tenant, 1, row{"status": "busy"}))
	}
	noError(t, w.Close())
	for tenant, block := range map[uuid.UUID]int{tenantA: 64 << 10, tenantB: 256 << 10, read: 256 << 10} {
		db, err := sql.Open("duckdb", filepath.Join(dir, "warehouse", tenant.String()+".duckdb")+"?access_mode=read_only")
		noError(t, err)
		var size int
		noError(t, db.QueryRowContext(t.Context(), "SELECT block_size FROM pragma_database_size()").Scan(&size))
		noError(t, db.Close())
		if size != block {
			t.Errorf("the blocks of tenant %s have %d bytes, not %d", tenant, size, block)
		}
	}
}
