// Package warehousetest has helpers for the tests of several packages: they open a warehouse, merge rows into it, and
// read files of a closed one. Each function ends the test if it fails.
package warehousetest

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	engine "github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Two tenants.
var (
	TenantA = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	TenantB = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000002")
)

// NoError requires that err is nil.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WantKind requires an error of the kind.
func WantKind(t testing.TB, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
}

// Open opens the data folder. The test must close the warehouse.
func Open(t testing.TB, dir string) *warehouse.Warehouse {
	t.Helper()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	NoError(t, err)
	return w
}

// OpenNew opens a new data folder, and closes it at the end of the test.
func OpenNew(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	w := Open(t, EmptyFolder(t))
	t.Cleanup(func() { NoError(t, w.Close()) })
	return w
}

// A Row is an input row.
type Row map[string]any

// Call returns call n of the tenant with the fields, and with values for the other fields that a call must have.
func Call(tenant uuid.UUID, n int, fields Row) Row {
	return With(Row{"user_id": tenant, "id": ID(n), "created_at": "2026-03-01T10:00:00.000Z",
		"status": "completed", "direction": "inbound"}, fields)
}

// Deletion returns a row of tenant A that its source has deleted.
func Deletion(n int, at any) Row { return Row{"user_id": TenantA, "id": ID(n), "deleted_at": at} }

// With sets fields of base and returns it.
func With(base, fields Row) Row {
	for name, value := range fields {
		base[name] = value
	}
	return base
}

// ID returns the id of row n.
func ID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// Lines returns the rows as input of a batch. A string is a line as it is; other values are encoded as JSON.
func Lines[R any](t testing.TB, rows ...R) warehouse.Lines {
	t.Helper()
	builder := array.NewRecordBuilder(mallocator.NewMallocator(), warehouse.LinesSchema)
	defer builder.Release()
	for i, r := range rows {
		text, ok := any(r).(string)
		if !ok {
			encoded, err := json.Marshal(r)
			NoError(t, err)
			text = string(encoded)
		}
		builder.Field(0).(*array.Int64Builder).Append(int64(i + 1))
		builder.Field(1).(*array.StringBuilder).Append(text)
		builder.Field(2).(*array.StringBuilder).AppendNull()
	}
	batch := builder.NewRecordBatch()
	reader, err := array.NewRecordReader(warehouse.LinesSchema, []arrow.RecordBatch{batch})
	NoError(t, err)
	batch.Release()
	t.Cleanup(reader.Release)
	return warehouse.Lines{Reader: reader}
}

// Merge merges rows and returns their outcomes. Rows are as in [Lines].
func Merge[R any](t testing.TB, w *warehouse.Warehouse, dataset schema.Dataset, rows ...R) schema.Counts {
	t.Helper()
	counts, _, err := w.Merge(t.Context(),
		warehouse.Batch{Dataset: dataset, Origin: "test.ndjson", Rows: Lines(t, rows...)})
	NoError(t, err)
	return counts
}

// MergeNew merges lines and requires that all of them are new rows.
func MergeNew(t testing.TB, w *warehouse.Warehouse, dataset schema.Dataset, rows ...string) {
	t.Helper()
	if counts := Merge(t, w, dataset, rows...); counts.New != int64(len(rows)) {
		t.Fatalf("got counts %+v, want %d new rows", counts, len(rows))
	}
}

// WantCounts requires the outcomes of a merge.
func WantCounts(t testing.TB, got, want schema.Counts) {
	t.Helper()
	if got != want {
		t.Fatalf("got counts %+v, want %+v", got, want)
	}
}

// Query returns one value from a tenant's file. It uses a DuckDB instance of its own, so the warehouse must be closed.
func Query(t testing.TB, dir string, tenant uuid.UUID, statement string) string {
	t.Helper()
	return QueryFile(t, filepath.Join(dir, "warehouse", tenant.String()+".duckdb")+"?access_mode=READ_ONLY", statement)
}

// QueryLake returns one value from the published files. {lake} in the statement is replaced by their folder.
func QueryLake(t testing.TB, dir, statement string) string {
	t.Helper()
	return QueryFile(t, "", strings.ReplaceAll(statement, "{lake}", filepath.Join(dir, "lake")))
}

// QueryFile returns one value from a DuckDB file, or from an empty database in memory if dsn is empty.
func QueryFile(t testing.TB, dsn, statement string) string {
	t.Helper()
	connector, err := duckdb.NewConnector(dsn, nil)
	NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	NoError(t, err)
	defer func() { NoError(t, conn.Close()) }()
	for _, function := range warehouse.ValueFunctions {
		NoError(t, engine.AddFunction(conn, function))
	}
	_, err = conn.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
	NoError(t, err)
	var value string
	if err := conn.QueryRowContext(t.Context(), "SELECT ("+statement+")::VARCHAR").Scan(&value); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value
}

// ExecFile changes a DuckDB file. It uses an instance of its own, so the warehouse must be closed.
func ExecFile(t testing.TB, path, statements string) {
	t.Helper()
	connector, err := duckdb.NewConnector(path, nil)
	NoError(t, err)
	db := sql.OpenDB(connector)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), statements)
	NoError(t, err)
}

// Files returns the paths of the files below dir, relative to dir.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			relative, _ := filepath.Rel(dir, path)
			found = append(found, relative)
		}
		return err
	})
	NoError(t, err)
	return found
}
