package warehouse_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// A Parquet file is read in parts of a row group of the tenant's file, which hold each of its rows once, whatever its own row groups are.
func TestParquetParts(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := filepath.Join(t.TempDir(), "calls.parquet")
	for _, c := range []struct{ rows, rowGroup, parts int }{
		{1, 122_880, 1}, {0, 122_880, 0}, {61_440, 61_440, 1}, {30_720, 2_048, 1}, {122_880 + 5, 122_880, 3}, {140_000, 2_048, 3}, {140_000, 65_536, 3}, {200_000, 200_000, 4},
	} {
		_, err := db.ExecContext(t.Context(), fmt.Sprintf(`COPY (SELECT CASE WHEN i = %d THEN 'none' ELSE md5(i::VARCHAR)::UUID::VARCHAR END AS id, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds(i) AS created_at
			FROM range(%d) AS r(i) ORDER BY i) TO %s (FORMAT parquet, ROW_GROUP_SIZE %d)`, c.rows-1, c.rows, statements.Text(path), c.rowGroup))
		noError(t, err)
		parts, _, err := w.ParquetParts(t.Context(), path)
		noError(t, err)
		if len(parts) != c.parts {
			t.Errorf("%d rows in groups of %d: %d parts, not %d", c.rows, c.rowGroup, len(parts), c.parts)
		}
		var total warehouse.Counts
		var refused []warehouse.Refusal
		for i, part := range parts {
			if rows := part.Rows(); rows != warehouse.RowGroup && i < len(parts)-1 {
				t.Errorf("%d rows in groups of %d: part %d has %d", c.rows, c.rowGroup, i, rows)
			}
			counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: warehouse.Calls, Tenant: tenantA, Origin: "calls.parquet", Rows: part})
			noError(t, err)
			total.Add(counts)
			refused = append(refused, refusals...)
		}
		if total.Read != int64(c.rows) || c.rows > 0 && (len(refused) != 1 || refused[0].Line != int64(c.rows)) {
			t.Errorf("%d rows in groups of %d: read %d, refused %v", c.rows, c.rowGroup, total.Read, refused)
		}
	}
	noError(t, w.Close())
	want(t, query(t, dir, tenantA, "SELECT count(*) FROM calls"), "199999") // all are rows of the longest
}
