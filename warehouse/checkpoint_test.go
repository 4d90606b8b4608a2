package warehouse_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// The rows of many tenants do not pile up in logs, and so in memory: from some on, what is merged is packed into its file at once.
func TestRowsOfManyTenantsArePacked(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	const tenants, rows = 10, 2_048
	var all []any
	for n := range tenants * rows {
		tenant := tenantA
		tenant[15] = byte(n / rows)
		all = append(all, call(tenant, n, nil))
	}
	wantCounts(t, merge(t, w, warehouse.Calls, all...), warehouse.Counts{Read: tenants * rows, New: tenants * rows})
	first, last := tenantA, tenantA
	first[15], last[15] = 0, tenants-1
	log := func(tenant uuid.UUID) string { return filepath.Join(dir, "warehouse", tenant.String()+".duckdb.wal") }
	if info, err := os.Stat(log(first)); err != nil || info.Size() == 0 {
		t.Fatalf("the first tenant's rows are not in its log, so that this test sees nothing: %v", err)
	}
	if info, err := os.Stat(log(last)); err == nil && info.Size() > 0 {
		t.Fatalf("the last tenant's rows are in its log: %d bytes", info.Size())
	}
	wantCounts(t, merge(t, w, warehouse.Calls, all...), warehouse.Counts{Read: tenants * rows, Unchanged: tenants * rows})
	noError(t, w.Close())
	want(t, query(t, dir, last, "SELECT count(*) FROM calls"), "2048")
}

// Nor do those of tenants that have few each.
func TestFewRowsOfManyTenantsArePacked(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	const tenants, rows = 40, 1_000
	var all []any
	last := tenantA
	for n := range tenants * rows {
		last[15] = byte(n / rows)
		all = append(all, call(last, n, nil))
	}
	wantCounts(t, merge(t, w, warehouse.Calls, all...), warehouse.Counts{Read: tenants * rows, New: tenants * rows})
	if info, err := os.Stat(filepath.Join(dir, "warehouse", last.String()+".duckdb.wal")); err == nil && info.Size() > 0 {
		t.Fatalf("the last tenant's rows are in its log: %d bytes", info.Size())
	}
	noError(t, w.Close())
	want(t, query(t, dir, last, "SELECT count(*) FROM calls"), "1000")
}
