package warehouse_test

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
)

// inDatabase returns the result of a query on a DuckDB file that no other instance has open.
func inDatabase(t *testing.T, path, query string) string {
	t.Helper()
	return queryFile(t, path+"?access_mode=READ_ONLY", query)
}

func TestWriteDatabase_Contents(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-03-01T23:59:59.999Z", "started_at": "2026-03-01T23:00:00Z", "cost": 0.1234,
			"duration": "1m 2s", "metadata": row{"a": "ß"},
			"transcript": []row{{"role": "user", "content": "नमस्ते !", "timestamp_ms": 5},
				{"role": "assistant", "message": "hi"}}}),
		call(tenantA, 2, row{"created_at": "2026-01-31T23:59:59.999999Z"}),
		call(tenantA, 3, row{"created_at": "2026-02-01T00:00:00Z", "transcript": "AI: hi"}))
	merge(t, w, schema.Calls, call(tenantB, 4, row{"summary": "of another tenant"}))
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	made, err := w.WriteDatabase(t.Context(), tenantA, path)
	noError(t, err)
	noError(t, w.Close())
	files, err := os.ReadDir(filepath.Dir(path))
	noError(t, err)
	if len(files) != 1 {
		t.Errorf("got files %v, want only the export", files)
	}
	for _, export := range schema.Exports {
		all := "SELECT coalesce(string_agg(r::VARCHAR, chr(10)), '') FROM (%s) AS r"
		lake := query(t, dir, tenantA, fmt.Sprintf(all, export.Select(schema.Filter{})))
		want(t, inDatabase(t, path, fmt.Sprintf(all, "FROM "+export.Name)), lake)
		want(t, inDatabase(t, path, "SELECT count(*)::VARCHAR FROM "+export.Name), fmt.Sprint(made.Rows[export.Name]))
		comment := inDatabase(t, path, "SELECT comment FROM duckdb_tables() WHERE table_name = '"+export.Name+"'")
		if !strings.HasPrefix(comment, export.Description+" As of 20") {
			t.Errorf("%s: %s", export.Name, comment)
		}
		for _, c := range export.Columns {
			want(t, inDatabase(t, path, fmt.Sprintf("SELECT data_type || ' ' || comment FROM duckdb_columns() WHERE "+
				"table_name = '%s' AND column_name = '%s'", export.Name, c.Name)), c.Type+" "+c.Comment())
		}
	}
	want(t, inDatabase(t, path, "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM information_schema.tables"),
		"calls cost_daily customers messages transcript_turns")
	content, err := os.ReadFile(path)
	noError(t, err)
	for _, secret := range []string{dir, "user_id", tenantA.String(), "another tenant"} {
		if strings.Contains(string(content), secret) {
			t.Errorf("the file contains %q", secret)
		}
	}
}

func TestWriteDatabase_NoRows(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	path := filepath.Join(t.TempDir(), "warehouse.duckdb")
	made, err := w.WriteDatabase(t.Context(), tenantA, path)
	noError(t, err)
	noError(t, w.Close())
	for _, export := range schema.Exports {
		if made.Rows[export.Name] != 0 || inDatabase(t, path, "SELECT count(*)::VARCHAR FROM "+export.Name) != "0" {
			t.Error(export.Name, made)
		}
	}
}

// A cancelled WriteDatabase leaves no file, and the next WriteDatabase succeeds.
func TestWriteDatabase_CancelledLeavesNoFile(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for n := range 4 {
		merge(t, w, schema.Calls, call(tenantA, n, row{"created_at": fmt.Sprintf("2026-0%d-01T00:00:00Z", n+1)}))
	}
	dir := t.TempDir()
	for wait, whole := time.Microsecond, false; !whole; wait = wait*3/2 + 1 {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := w.WriteDatabase(ctx, tenantA, filepath.Join(dir, "warehouse.duckdb"))
		cancel()
		whole = err == nil
		files, readErr := os.ReadDir(dir)
		noError(t, readErr)
		if !whole && (len(files) > 0 || !errors.Is(err, context.DeadlineExceeded)) {
			t.Fatalf("cancelled after %s: got files %v, error %v, want none", wait, files, err)
		}
	}
}
