package warehouse

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// summarySQL selects the summary of the staged rows from DuckDB.
const summarySQL = `SELECT COLUMNS(*)::VARCHAR FROM (
	SELECT tenant_id, count(*), count(raw), count(id) FILTER (raw IS NULL) > count(DISTINCT id) FILTER (raw IS NULL),
		array_to_string(list_sort(list_distinct(flatten(list(unknown) FILTER (unknown IS NOT NULL))))[:50], ','),
		count(deleted_at) FILTER (raw IS NULL),
		array_to_string(list_sort(list_distinct(
			list(strftime(created_at AT TIME ZONE 'UTC', '%Y-%m')) FILTER (raw IS NULL))), ','),
		epoch_us(min(created_at) FILTER (raw IS NULL)), epoch_us(max(created_at) FILTER (raw IS NULL)),
		min(min(rowid)) OVER ()
	FROM staged GROUP BY tenant_id) ORDER BY tenant_id`

// The summary of staged rows is what DuckDB computes: tenants, refused rows, duplicates, deletions, months, times and
// unknown fields.
func TestSummarize_MatchesSQL(t *testing.T) {
	t.Parallel()
	w := openForTest(t)
	slot, err := w.stagingSlot(t.Context(), schema.Calls)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := w.discardSlot(slot); err != nil {
			t.Error(err)
		}
	}()
	oneOf := func(t *rapid.T, name string, values ...string) string { return rapid.SampledFrom(values).Draw(t, name) }
	rapid.Check(t, func(t *rapid.T) {
		if _, err := slot.conn.ExecContext(t.Context(), "DELETE FROM staged"); err != nil {
			t.Fatal(err)
		}
		var values []string
		for range rapid.IntRange(0, 12).Draw(t, "rows") {
			var unknown []string
			for range rapid.IntRange(0, 60).Draw(t, "unknown fields") {
				unknown = append(unknown, fmt.Sprintf(`f"%d`, rapid.IntRange(0, 200).Draw(t, "field")))
			}
			unknownFields := "NULL"
			if unknown != nil {
				unknownFields = statements.Texts(unknown...)
			}
			values = append(values, "("+strings.Join([]string{
				oneOf(t, "tenant", "NULL", "'00000000-0000-4000-8000-000000000001'", "'F0000000-0000-4000-8000-000000000001'"),
				oneOf(t, "id", "'00000000-0000-4000-8000-0000000000a1'", "uuid()", "uuid()", "uuid()"),
				oneOf(t, "created_at", "NULL", "'0001-01-01T00:00:00Z'", "'9999-12-31T23:59:59.999999Z'",
					"'1969-12-31T23:59:59.999999Z'", "'2026-03-31T23:59:59Z'", "'2026-04-01T00:00:00Z'"),
				oneOf(t, "deleted_at", "NULL", "NULL", "now()"), oneOf(t, "raw", "NULL", "NULL", "NULL", "'{}'", "''"),
				unknownFields,
			}, ", ")+")")
		}
		if len(values) > 0 {
			_, err := slot.conn.ExecContext(t.Context(), "INSERT INTO staged "+
				"(tenant_id, id, created_at, deleted_at, raw, unknown) VALUES "+strings.Join(values, ", "))
			if err != nil {
				t.Fatal(err)
			}
		}
		rows, err := duckdb.Select(t.Context(), slot.conn, summarySQL)
		if err != nil {
			t.Fatal(err)
		}
		staged := &Staged{w: w, slot: slot}
		if err := staged.summarize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(staged.tenants) != len(rows) {
			t.Fatalf("got %d tenants, want %d", len(staged.tenants), len(rows))
		}
		for i, row := range rows {
			var want stagedTenant
			var unknown, months string
			var firstRow int64
			if err := scanTexts(row, &want.id, &want.rows, &want.refused, &want.hasDuplicates, &unknown, &want.deletions,
				&months, &want.first, &want.last, &firstRow); err != nil {
				t.Fatal(err)
			}
			var gotMonths []string
			for month := range staged.tenants[i].months {
				gotMonths = append(gotMonths, month.String())
			}
			slices.Sort(gotMonths)
			got := staged.tenants[i]
			gotTexts := []string{strings.Join(got.unknown, ","), strings.Join(gotMonths, ",")}
			got.unknown, got.months = nil, nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || !slices.Equal(gotTexts, []string{unknown, months}) ||
				staged.firstRow != firstRow {
				t.Fatalf("got %+v, %v and the first row %d, want %+v, %s, %s and %d", got, gotTexts, staged.firstRow, want,
					unknown, months, firstRow)
			}
		}
	})
}
