package httpapi_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// columnNames returns the columns of a stream in order, or nil if the format has names in its rows only and there are
// no rows.
func columnNames(t *testing.T, format, body string) (names []string) {
	t.Helper()
	switch format {
	case "arrow":
		reader, err := ipc.NewReader(strings.NewReader(body))
		noError(t, err)
		defer reader.Release()
		for _, field := range reader.Schema().Fields() {
			names = append(names, field.Name)
		}
	case "csv":
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		noError(t, err)
		return rows[0]
	case "ndjson":
		decoder := json.NewDecoder(strings.NewReader(body))
		if !decoder.More() {
			return nil
		}
		_, err := decoder.Token() // {
		noError(t, err)
		for decoder.More() {
			name, err := decoder.Token()
			noError(t, err)
			names = append(names, name.(string))
			noError(t, decoder.Decode(new(json.RawMessage)))
		}
	}
	return names
}

// described are the names of an export's columns, and these with their types.
func described(export schema.Export) (names []string, typed string) {
	var all []string
	for _, c := range export.Columns {
		names, all = append(names, c.Name), append(all, c.Name+" "+c.Type)
	}
	return names, strings.Join(all, ", ")
}

// A tenant without rows, and one with a single row of each export, gets every form of every export, with its columns.
func TestExports_OfNoAndFewRows(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	single := uuid.New()
	row := fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-03-01T23:59:59.999Z"`, single, id(1))
	merge(t, b.warehouse, schema.Calls, row+`,"transcript":"AI: hi","cost":0.5}`)
	merge(t, b.warehouse, schema.Customers, row+"}")
	merge(t, b.warehouse, schema.Messages, row+"}")
	for rows, tenant := range []uuid.UUID{nobody, single} {
		var err error
		_, b.secret, err = b.warehouse.CreateKey(t.Context(), tenant, control.Secret, control.KeySettings{})
		noError(t, err)
		t.Run(fmt.Sprint(rows, ", not published"), func(t *testing.T) { b.hasRows(t, rows) })
		_, err = b.warehouse.Publish(t.Context())
		noError(t, err)
		t.Run(fmt.Sprint(rows, ", published"), func(t *testing.T) {
			b.hasFiles(t, rows, b.hasRows(t, rows))
		})
	}
}

// hasRows checks the number of rows of each export in the streams and in the database, which it returns.
func (b *bulk) hasRows(t *testing.T, rows int) (database receivedDatabase) {
	database = openDatabase(t, b.ask(t, "GET", databasePath, b.secret).body)
	for _, export := range schema.Exports {
		names, typed := described(export)
		for _, format := range []string{"parquet", "arrow", "csv", "ndjson"} {
			got := b.stream(t, export.Name+"?format="+format)
			if got.status != http.StatusOK {
				t.Fatalf("%s as %s: %d %s", export.Name, format, got.status, got.body)
			}
			kind, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
			if n, err := counts[kind](got.body); n != rows || err != nil {
				t.Errorf("%s as %s: %d rows, %v", export.Name, format, n, err)
			}
			if format == "parquet" {
				if columns := database.columnsOf(t, got.body); columns != typed {
					t.Errorf("%s as Parquet has %s, not %s", export.Name, columns, typed)
				}
			} else if columns := columnNames(t, format, got.body); !slices.Equal(columns, names) &&
				(format != "ndjson" || rows > 0) {
				t.Errorf("%s as %s has %q, not %q", export.Name, format, columns, names)
			}
		}
		if n := database.value(t, "SELECT count(*) FROM "+export.Name); n != fmt.Sprint(rows) {
			t.Errorf("in the database, %s has %s rows", export.Name, n)
		}
		if columns := database.value(t,
			"SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) FROM duckdb_columns() WHERE "+
				"table_name = '"+export.Name+"'"); columns != typed {
			t.Errorf("in the database, %s has %s, not %s", export.Name, columns, typed)
		}
	}
	if n := database.value(t, "SELECT count(*) FROM duckdb_tables()"); n != fmt.Sprint(len(schema.Exports)) {
		t.Errorf("the database has %s tables", n)
	}
	return database
}

// hasFiles checks the list of exports and the files of each; rows are their numbers of rows. The database reads them.
func (b *bulk) hasFiles(t *testing.T, rows int, database receivedDatabase) {
	var list struct {
		Data []struct {
			Name    string
			Rows    int
			Months  []string
			Columns []struct{ Name, Type string }
			AsOf    *string `json:"as_of"`
		}
	}
	noError(t, json.NewDecoder(bytes.NewBufferString(b.ask(t, "GET", "/api/v1/exports", b.secret).body)).Decode(&list))
	for i, export := range schema.Exports {
		told := list.Data[i]
		if told.Name != export.Name || told.Rows != rows || len(told.Columns) != len(export.Columns) || told.Months == nil ||
			(told.AsOf == nil) != (rows == 0) {
			t.Errorf("%+v", told)
		}
		files := b.files(t, b.secret, export.Name, "")
		if len(files) != rows {
			t.Errorf("%s has %d files", export.Name, len(files))
		}
		for _, file := range files {
			if _, typed := described(export); file.Rows != 1 || database.columnsOf(t, b.content(t, file)) != typed {
				t.Errorf("%+v has not %s", file, typed)
			}
		}
	}
}
