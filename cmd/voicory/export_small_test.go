package main

import (
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse/schema"
)

// readBack returns the column names and the number of rows of an exported file, as a reader of the format finds them.
// NDJSON without rows has no columns. value returns the single value of a query in DuckDB.
func readBack(t *testing.T, value func(string) string, format exports.Format, path string) (names []string, rows int) {
	t.Helper()
	content, err := os.ReadFile(path)
	noError(t, err)
	switch format {
	case exports.Parquet:
		names = strings.Split(value("SELECT string_agg(column_name) FROM (DESCRIBE FROM read_parquet('"+path+"'))"), ",")
		_, err = fmt.Sscan(value("SELECT count(*) FROM read_parquet('"+path+"')"), &rows)
		noError(t, err)
	case exports.Arrow:
		reader, err := ipc.NewReader(bytes.NewReader(content))
		noError(t, err)
		defer reader.Release()
		for _, field := range reader.Schema().Fields() {
			names = append(names, field.Name)
		}
		for reader.Next() {
			rows += int(reader.RecordBatch().NumRows())
		}
		noError(t, reader.Err())
	case exports.CSV:
		lines, err := csv.NewReader(bytes.NewReader(content)).ReadAll()
		noError(t, err)
		return lines[0], len(lines) - 1
	case exports.NDJSON:
		for line := range strings.Lines(string(content)) {
			names = strings.Split(value("SELECT array_to_string(json_keys('"+strings.ReplaceAll(line, "'", "''")+"'), ',')"),
				",")
			rows++
		}
	}
	return names, rows
}

// checkSmallExports exports a tenant with the given number of rows as a bundle. It also exports calls in every format,
// and each other export in one.
func checkSmallExports(t *testing.T, data string, rows int) {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	value := func(query string) (value string) {
		t.Helper()
		noError(t, db.QueryRowContext(t.Context(), query).Scan(&value))
		return value
	}
	dir := t.TempDir()
	export := func(args ...string) string {
		t.Helper()
		return mustRun(t, "", append([]string{"export", "--data", data, "--tenant", someTenant, "--json"}, args...)...).stdout
	}
	var all exports.Bundle
	noError(t, json.Unmarshal([]byte(export("all", "-o", filepath.Join(dir, "all"))), &all))
	_, err = db.ExecContext(t.Context(), "ATTACH '"+filepath.Join(dir, "all", exports.DatabaseFile)+
		"' AS written (READ_ONLY)")
	noError(t, err)
	if tables := value("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'written'"); len(
		all.Files) != 1+rows*len(schema.Exports) || tables != fmt.Sprint(len(schema.Exports)) {
		t.Errorf("got %s tables in the database of %+v", tables, all)
	}
	for i, e := range schema.Exports {
		var want []string
		for _, column := range e.Columns {
			want = append(want, column.Name)
		}
		inDatabase := value("SELECT (SELECT string_agg(column_name ORDER BY column_index) FROM duckdb_columns() WHERE " +
			"database_name = 'written' AND table_name = '" + e.Name + "') || ' ' || count(*) FROM written." + e.Name)
		if inDatabase != fmt.Sprint(strings.Join(want, ","), " ", rows) {
			t.Errorf("%s in the database: got %s, want %v and %d rows", e.Name, inDatabase, want, rows)
		}
		for n, format := range exports.Formats {
			if i > 0 && i%len(exports.Formats) != n {
				continue
			}
			path := filepath.Join(dir, e.Name+format.Extension())
			summary := export(e.Name, "-o", path)
			names, n := readBack(t, value, format, path)
			if !strings.Contains(summary, fmt.Sprintf(`"rows": %d,`, rows)) || n != rows || !slices.Equal(names, want) &&
				(format != exports.NDJSON || rows > 0) {
				t.Errorf("%s as %s: got %d rows with columns %q, want %d with %q: %s", e.Name, format, n, names, rows, want,
					summary)
			}
		}
	}
}

// A tenant without rows and a tenant with one row per dataset can be exported in every format. The tests of larger
// exports also use a stopped folder, on which the same operation runs.
func TestExport_ZeroAndOneRow(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	serve(t, data)
	createKey(t, data, someTenant, "secret")
	checkSmallExports(t, data, 0)
	call := strings.Replace(callLine(1), "{", `{"transcript":"AI: hi",`, 1)
	for dataset, line := range map[string]string{"calls": call, "customers": callLine(1), "messages": callLine(1)} {
		mustRun(t, line, "ingest", "--data", data, "--dataset", dataset, "-")
	}
	checkSmallExports(t, data, 1)
}
