package warehouse

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// mergeNumbered merges new calls with the numbers from first to last.
func mergeNumbered(t *testing.T, w *Warehouse, tenant uuid.UUID, first, last int) {
	t.Helper()
	rows := int64(last - first + 1)
	mergeCalls(t, w, tenant, first, last, "", schema.Counts{Read: rows, New: rows})
}

// mergeCalls merges calls with the numbers from first to last and a status.
func mergeCalls(t *testing.T, w *Warehouse, tenant uuid.UUID, first, last int, status string, want schema.Counts) {
	t.Helper()
	rows := array.NewRecordBuilder(mallocator.NewMallocator(), LinesSchema)
	defer rows.Release()
	for n := first; n <= last; n++ {
		rows.Field(0).(*array.Int64Builder).Append(int64(n))
		rows.Field(1).(*array.StringBuilder).Append(fmt.Sprintf(
			`{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z","status":%q}`, n, status))
		rows.Field(2).AppendNull()
	}
	record := rows.NewRecordBatch()
	defer record.Release()
	reader, err := array.NewRecordReader(LinesSchema, []arrow.RecordBatch{record})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	counts, _, err := w.Merge(t.Context(), Batch{Dataset: schema.Calls, Tenant: tenant, Origin: "test",
		Rows: Lines{reader}})
	if err != nil || counts != want {
		t.Fatalf("got %+v and error %v, want %+v", counts, err, want)
	}
}

func openForTest(t *testing.T) *Warehouse {
	t.Helper()
	w, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// A small batch adds nothing to DuckDB's catalog, because each entry takes memory.
func TestStagingSlots_SmallBatchesReuseSlot(t *testing.T) {
	t.Parallel()
	w, tenant := openForTest(t), uuid.New()
	entries := func() (count int64) {
		err := w.loader.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM duckdb_databases()) + "+
			"(SELECT count(*) FROM duckdb_schemas()) + (SELECT count(*) FROM duckdb_views()) + "+
			"(SELECT count(*) FROM duckdb_tables())").Scan(&count)
		if err != nil {
			t.Fatal(err)
		}
		return count
	}
	mergeNumbered(t, w, tenant, 1, 1)
	before := entries()
	for n := 2; n < 12; n++ {
		mergeNumbered(t, w, tenant, n, n)
	}
	if after := entries(); after != before || w.slots.last != 1 {
		t.Errorf("got %d slots and %d catalog entries, want 1 and %d as after the first batch", w.slots.last, after, before)
	}
	mergeNumbered(t, w, tenant, 12, 12+maxReusedRows)
	if after := entries(); after >= before {
		t.Errorf("got %d catalog entries after a large batch, want its database dropped", after)
	}
}

// A transaction that may see the rows of a slot keeps them in its table. The rows of the next batches then have other
// row numbers, and the same sequence numbers.
func TestStagingSlots_RowsOfEarlierBatches(t *testing.T) {
	t.Parallel()
	w, tenant := openForTest(t), uuid.New()
	mergeNumbered(t, w, tenant, 1, 1)
	tx, err := w.loader.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "FROM batch_1.main.staged"); err != nil {
		t.Fatal(err)
	}
	mergeNumbered(t, w, tenant, 2, 101)
	mergeNumbered(t, w, tenant, 102, 2600)
	mergeNumbered(t, w, tenant, 2601, 2601)
	wantSeqs := func(want string) {
		t.Helper()
		var got string
		query := "SELECT list((_seq, rows) ORDER BY _seq)::VARCHAR FROM (SELECT _seq, count(*) AS rows FROM " +
			statements.Ident(tenant.String()) + ".main.calls GROUP BY _seq)"
		if err := w.loader.QueryRowContext(t.Context(), query).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if got != want || w.slots.last != 1 {
			t.Errorf("got %s from %d slots, want %s from one", got, w.slots.last, want)
		}
	}
	wantSeqs("[(1, 1), (2, 100), (3, 451), (4, 2048), (5, 1)]")
	mergeCalls(t, w, tenant, 2, 101, "completed", schema.Counts{Read: 100, Changed: 100})
	wantSeqs("[(1, 1), (3, 451), (4, 2048), (5, 1), (6, 100)]")
	mergeNumbered(t, w, tenant, 2602, 2700)
	mergeCalls(t, w, tenant, 2601, 2700, "completed", schema.Counts{Read: 100, Changed: 100})
	wantSeqs("[(1, 1), (3, 451), (4, 2048), (6, 100), (8, 100)]")
}
