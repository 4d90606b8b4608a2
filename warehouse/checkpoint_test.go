package warehouse_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The rows in the WALs of all tenants are bounded, because DuckDB also keeps them in memory.
func TestMerge_BoundsRowsInWALs(t *testing.T) {
	for name, test := range map[string]struct{ tenants, rows, limit int }{
		"many rows per tenant": {10, 2_048, warehouse.MaxWALRows},
		"few rows per tenant":  {40, 1_000, warehouse.HardMaxWALRows},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir)
			var rows []any
			for n := range test.tenants * test.rows {
				rows = append(rows, call(numbered(n/test.rows), n, nil))
			}
			total := int64(len(rows))
			wantCounts(t, merge(t, w, schema.Calls, rows...), schema.Counts{Read: total, New: total})
			inWALs := 0
			for n := range test.tenants {
				info, err := os.Stat(filepath.Join(dir, "warehouse", numbered(n).String()+".duckdb.wal"))
				if err == nil && info.Size() > 0 {
					inWALs += test.rows
				}
			}
			if inWALs == 0 || inWALs >= test.limit {
				t.Errorf("got %d rows in WALs, want between 1 and %d", inWALs, test.limit-1)
			}
			wantCounts(t, merge(t, w, schema.Calls, rows...), schema.Counts{Read: total, Unchanged: total})
			noError(t, w.Close())
			for n := range test.tenants {
				if got := query(t, dir, numbered(n), "SELECT count(*) FROM calls"); got != strconv.Itoa(test.rows) {
					t.Errorf("tenant %d: got %s rows, want %d", n, got, test.rows)
				}
			}
		})
	}
}
