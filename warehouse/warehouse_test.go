package warehouse_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	tenantA = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	tenantB = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000002")
)

// open opens the data folder. The test must close it.
func open(t *testing.T, dir string) *warehouse.Warehouse {
	t.Helper()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func openNew(t *testing.T) *warehouse.Warehouse {
	t.Helper()
	w := open(t, t.TempDir())
	t.Cleanup(func() { noError(t, w.Close()) })
	return w
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A row is an input row. call fills in the fields that a test does not set.
type row map[string]any

func call(tenant uuid.UUID, n int, fields row) row {
	return with(row{"user_id": tenant, "id": id(n), "created_at": "2026-03-01T10:00:00.000Z",
		"status": "completed", "direction": "inbound"}, fields)
}

// deletion returns a row of tenant A that its source has deleted.
func deletion(n int, at any) row { return row{"user_id": tenantA, "id": id(n), "deleted_at": at} }

func with(base, fields row) row {
	for name, value := range fields {
		base[name] = value
	}
	return base
}

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// lines returns the rows as input of a batch. A string is a line as it is; other values are encoded as JSON.
func lines(t *testing.T, rows ...any) warehouse.Lines {
	t.Helper()
	builder := array.NewRecordBuilder(mallocator.NewMallocator(), warehouse.LinesSchema)
	defer builder.Release()
	for i, r := range rows {
		text, ok := r.(string)
		if !ok {
			encoded, err := json.Marshal(r)
			noError(t, err)
			text = string(encoded)
		}
		builder.Field(0).(*array.Int64Builder).Append(int64(i + 1))
		builder.Field(1).(*array.StringBuilder).Append(text)
		builder.Field(2).(*array.StringBuilder).AppendNull()
	}
	batch := builder.NewRecordBatch()
	reader, err := array.NewRecordReader(warehouse.LinesSchema, []arrow.RecordBatch{batch})
	noError(t, err)
	batch.Release()
	t.Cleanup(reader.Release)
	return warehouse.Lines{Reader: reader}
}

func merge(t *testing.T, w *warehouse.Warehouse, dataset schema.Dataset, rows ...any) schema.Counts {
	t.Helper()
	counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Origin: "test.ndjson", Rows: lines(t, rows...)})
	noError(t, err)
	return counts
}

func wantCounts(t *testing.T, got, want schema.Counts) {
	t.Helper()
	if got != want {
		t.Fatalf("got counts %+v, want %+v", got, want)
	}
}

// query returns one value from a tenant's file. It uses a DuckDB instance of its own, so the warehouse must be closed.
func query(t *testing.T, dir string, tenant uuid.UUID, statement string) string {
	t.Helper()
	return queryFile(t, filepath.Join(dir, "warehouse", tenant.String()+".duckdb")+"?access_mode=READ_ONLY", statement)
}

// queryLake returns one value from the published files. {lake} in the statement is replaced by their folder.
func queryLake(t *testing.T, dir, statement string) string {
	t.Helper()
	return queryFile(t, "", strings.ReplaceAll(statement, "{lake}", filepath.Join(dir, "lake")))
}

// execFile changes a file. It uses a DuckDB instance of its own, so the warehouse must be closed.
func execFile(t *testing.T, path, statements string) {
	t.Helper()
	connector, err := duckdb.NewConnector(path, nil)
	noError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), statements)
	noError(t, err)
}

func queryFile(t *testing.T, dsn, statement string) string {
	t.Helper()
	connector, err := duckdb.NewConnector(dsn, nil)
	noError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	var value string
	if _, err := db.ExecContext(t.Context(), "SET TimeZone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), "SELECT ("+statement+")::VARCHAR").Scan(&value); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value
}

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

// files returns the paths of the files below dir, relative to dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(dir, path)
			found = append(found, relative)
		}
		return err
	})
	noError(t, err)
	return found
}

func publish(t *testing.T, w *warehouse.Warehouse) warehouse.Published {
	t.Helper()
	published, err := w.Publish(t.Context())
	noError(t, err)
	return published
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	noError(t, err)
	return string(text)
}
