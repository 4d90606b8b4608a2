package warehouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// dayCall returns call n, of a day of January 2026.
func dayCall(n, day int, cost float64) row {
	return call(tenantA, n, row{"created_at": fmt.Sprintf("2026-01-%02dT12:00:00Z", day), "cost": cost,
		"transcript": "AI: hi"})
}

// A month of many rows is published by day, and a change rewrites its days only. With few rows it is one file again.
// Every row is in the lake once after each publication.
func TestPublish_MonthByDay(t *testing.T) {
	defer warehouse.SetDayFiles(warehouse.SetDayFiles(60, 30))
	dir := emptyFolder(t)
	w := open(t, dir)
	month := filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls", "month=2026-01")
	check := func(step string, rows, days int) {
		t.Helper()
		want(t, step+" "+queryLake(t, dir, "SELECT count(*) || ' ' || count(DISTINCT id) || ' ' || count(DISTINCT filename) "+
			"FROM read_parquet('{lake}/*/calls/month=*/*.parquet', filename = true)"),
			fmt.Sprintf("%s %d %[2]d %d", step, rows, max(1, days)))
		_, err := os.Stat(filepath.Join(month, "calls.parquet"))
		if (err == nil) != (days == 0) {
			t.Errorf("%s: got %v for the file of the month", step, err)
		}
		verification, err := w.Verify(t.Context(), tenantA)
		if err != nil || !verification.Sound() {
			t.Errorf("%s: got %+v and error %v, want sound files", step, verification.Findings, err)
		}
	}
	var calls []any
	for n := range 70 {
		calls = append(calls, dayCall(n, 1+n%5, 0.5))
	}
	merge(t, w, schema.Calls, calls[:50]...)
	wantPublished(t, w, 3, 50)
	check("below the number", 50, 0)
	merge(t, w, schema.Calls, calls[50:]...)
	wantPublished(t, w, 15, 70)
	check("above the number", 70, 5)
	merge(t, w, schema.Calls, dayCall(7, 3, 0.75))
	wantPublished(t, w, 3, 14)
	check("changed row", 70, 5)
	merge(t, w, schema.Calls, dayCall(7, 4, 0.75))
	wantPublished(t, w, 6, 28)
	check("moved row", 70, 5)
	merge(t, w, schema.Calls, dayCall(99, 9, 0.5))
	wantPublished(t, w, 3, 1)
	check("new day", 71, 6)
	merge(t, w, schema.Calls, deletion(99, "2026-06-01"))
	wantPublished(t, w, 0, 0)
	check("empty day", 70, 5)

	found, _ := published(t, w)
	noError(t, os.WriteFile(filepath.Join(dir, "published", tenantA.String(), found[2].Name), []byte("damaged"), 0o600))
	if found[2].Day != "2026-01-03" || !strings.HasPrefix(found[2].Name, "calls-2026-01-03-") {
		t.Errorf("got the file %+v, want that of the third day", found[2])
	}
	_, _, err := w.OpenPublished(t.Context(), tenantA, "calls", found[2].Name)
	wantKind(t, err, warehouse.ErrUnavailable)
	wantPublished(t, w, 3, 13)
	check("damaged day", 70, 5)

	// A crash has left a file of a day without rows, which is removed when the month is published again.
	noError(t, os.WriteFile(filepath.Join(month, "calls-2026-01-20.parquet"), []byte("left"), 0o600))
	merge(t, w, schema.Calls, dayCall(0, 1, 0.75))
	wantPublished(t, w, 3, 14)
	check("left file", 70, 5)

	var deletions []any
	for n := range 45 {
		deletions = append(deletions, deletion(n, "2026-06-01"))
	}
	merge(t, w, schema.Calls, deletions[:30]...)
	wantPublished(t, w, 15, 40)
	check("between the numbers", 40, 5)
	merge(t, w, schema.Calls, deletions[30:]...)
	wantPublished(t, w, 3, 25)
	check("few rows", 25, 0)
	merge(t, w, schema.Calls, calls...) // deleted rows stay deleted, except for their newer versions
	wantPublished(t, w, 15, 70)
	check("many rows again", 70, 5)
	noError(t, w.Close())
}

// A lost store is built again from the files of a month that is published by day.
func TestRepair_MonthByDay(t *testing.T) {
	defer warehouse.SetDayFiles(warehouse.SetDayFiles(20, 10))
	dir := emptyFolder(t)
	w := open(t, dir)
	var calls []any
	for n := range 30 {
		calls = append(calls, dayCall(n, 1+n%3, 0.5))
	}
	merge(t, w, schema.Calls, calls...)
	wantPublished(t, w, 9, 30)
	noError(t, w.Close())
	store := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
	noError(t, os.Remove(store))
	noError(t, os.RemoveAll(store+".wal"))
	repairs, err := warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
	if err != nil || len(repairs.Remaining) > 0 {
		t.Fatalf("got %+v and error %v", repairs, err)
	}
	want(t, queryLake(t, dir, "SELECT count(*) || ' ' || count(DISTINCT id) FROM "+
		"read_parquet('{lake}/*/calls/*/*.parquet')"), "30 30")
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls"), "30")
}

// The newest months of a dataset are published by day, up to a number. An older one is one file again when a newer one
// takes its place, although no commit has changed it.
func TestPublish_BoundsMonthsByDay(t *testing.T) {
	defer warehouse.SetDayFiles(warehouse.SetDayFiles(2, 1))
	dir := emptyFolder(t)
	w := open(t, dir)
	add := func(months ...int) {
		var calls []any
		for _, month := range months {
			for n := range 2 {
				calls = append(calls, call(tenantA, 2*month+n,
					row{"created_at": fmt.Sprintf("%d-%02d-%02d", 2024+month/12, 1+month%12, 1+n)}))
			}
		}
		merge(t, w, schema.Calls, calls...)
	}
	oneFile := func() string {
		return queryLake(t, dir, "SELECT string_agg(DISTINCT month, ' ' ORDER BY month) || ' ' || sum(n) FROM (SELECT "+
			"month, filename, "+
			"count(*) AS n FROM read_parquet('{lake}/*/calls/*/*.parquet', hive_partitioning = true, filename = true) GROUP "+
			"BY ALL "+
			"HAVING n = 2)")
	}
	var months []int
	for month := range 5 {
		months = append(months, month)
	}
	add(months...)
	wantPublished(t, w, 3*4+2*2, 10)
	want(t, oneFile(), "2024-01 2024-02 4")
	add(6)
	wantPublished(t, w, 4+2, 4)
	want(t, oneFile(), "2024-01 2024-02 2024-03 6")
	wantPublished(t, w, 0, 0)
	noError(t, w.Close())
}
