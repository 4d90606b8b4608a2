package rows_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// inDatabase returns the result of a query on a DuckDB file that no other instance has open.
func inDatabase(t *testing.T, path, query string) string {
	t.Helper()
	return QueryFile(t, path+"?access_mode=READ_ONLY", query)
}

func TestWriteDatabase_Contents(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls,
		Call(TenantA, 1, Row{"created_at": "2026-03-01T23:59:59.999Z", "started_at": "2026-03-01T23:00:00Z", "cost": 0.1234,
			"duration": "1m 2s", "metadata": Row{"a": "ß"},
			"transcript": []Row{{"role": "user", "content": "नमस्ते !", "timestamp_ms": 5},
				{"role": "assistant", "message": "hi"}}}),
		Call(TenantA, 2, Row{"created_at": "2026-01-31T23:59:59.999999Z"}),
		Call(TenantA, 3, Row{"created_at": "2026-02-01T00:00:00Z", "transcript": "AI: hi"}))
	Merge(t, w, schema.Calls, Call(TenantB, 4, Row{"summary": "of another tenant"}))
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	made, err := w.WriteDatabase(t.Context(), TenantA, path)
	NoError(t, err)
	NoError(t, w.Close())
	files, err := os.ReadDir(filepath.Dir(path))
	NoError(t, err)
	if len(files) != 1 {
		t.Errorf("got files %v, want only the export", files)
	}
	for _, export := range schema.Exports {
		all := "SELECT coalesce(string_agg(r::VARCHAR, chr(10)), '') FROM (%s) AS r"
		lake := Query(t, dir, TenantA, fmt.Sprintf(all, export.Select(schema.Filter{})))
		Want(t, inDatabase(t, path, fmt.Sprintf(all, "FROM "+export.Name)), lake)
		Want(t, inDatabase(t, path, "SELECT count(*)::VARCHAR FROM "+export.Name), fmt.Sprint(made.Rows[export.Name]))
		comment := inDatabase(t, path, "SELECT comment FROM duckdb_tables() WHERE table_name = '"+export.Name+"'")
		if !strings.HasPrefix(comment, export.Description+" As of 20") {
			t.Errorf("%s: %s", export.Name, comment)
		}
		var columns []string
		for _, c := range export.Columns {
			columns = append(columns, c.Name+" "+c.Type+" "+c.Comment())
		}
		Want(t, inDatabase(t, path, "SELECT string_agg(column_name || ' ' || data_type || ' ' || comment, chr(10) "+
			"ORDER BY column_index) FROM duckdb_columns() WHERE table_name = '"+export.Name+"'"), strings.Join(columns, "\n"))
	}
	Want(t, inDatabase(t, path, "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables"),
		"calls cost_daily customers messages transcript_turns")
	content, err := os.ReadFile(path)
	NoError(t, err)
	for _, secret := range []string{dir, "user_id", TenantA.String(), "another tenant"} {
		if strings.Contains(string(content), secret) {
			t.Errorf("the file contains %q", secret)
		}
	}
}

func TestWriteDatabase_NoRows(t *testing.T) {
	t.Parallel()
	w := Open(t, EmptyFolder(t))
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	made, err := w.WriteDatabase(t.Context(), TenantA, path)
	NoError(t, err)
	NoError(t, w.Close())
	for _, export := range schema.Exports {
		if made.Rows[export.Name] != 0 || inDatabase(t, path, "SELECT count(*)::VARCHAR FROM "+export.Name) != "0" {
			t.Error(export.Name, made)
		}
	}
}

// A cancelled WriteDatabase leaves no file, and the next WriteDatabase succeeds.
func TestWriteDatabase_CancelledLeavesNoFile(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	for n := range 4 {
		Merge(t, w, schema.Calls, Call(TenantA, n, Row{"created_at": fmt.Sprintf("2026-0%d-01T00:00:00Z", n+1)}))
	}
	dir := t.TempDir()
	for wait, whole := time.Microsecond, false; !whole; wait = wait*3/2 + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := w.WriteDatabase(ctx, TenantA, filepath.Join(dir, "warehouse.duckdb"))
		cancel()
		whole = err == nil
		files, readErr := os.ReadDir(dir)
		NoError(t, readErr)
		if !whole && (len(files) > 0 || !errors.Is(err, context.DeadlineExceeded)) {
			t.Fatalf("cancelled after %s: got files %v, error %v, want none", wait, files, err)
		}
	}
}
