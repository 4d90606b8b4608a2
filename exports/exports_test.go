package exports_test

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	duckdbgo "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Helpers of package warehousetest.
var (
	noError       = warehousetest.NoError
	openWarehouse = warehousetest.OpenNew
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")

// merge merges rows into the tenant. Each row is a JSON object.
func merge(t *testing.T, w *warehouse.Warehouse, dataset schema.Dataset, rows ...string) {
	t.Helper()
	builder := array.NewRecordBuilder(mallocator.NewMallocator(), warehouse.LinesSchema)
	defer builder.Release()
	for i, text := range rows {
		builder.Field(0).(*array.Int64Builder).Append(int64(i + 1))
		builder.Field(1).(*array.StringBuilder).Append(text)
		builder.Field(2).(*array.StringBuilder).AppendNull()
	}
	batch := builder.NewRecordBatch()
	defer batch.Release()
	reader, err := array.NewRecordReader(warehouse.LinesSchema, []arrow.RecordBatch{batch})
	noError(t, err)
	defer reader.Release()
	counts, refusals, err := w.Merge(
		t.Context(),
		warehouse.Batch{Dataset: dataset, Tenant: tenant, Origin: "test", Rows: warehouse.Lines{Reader: reader}},
	)
	noError(t, err)
	if counts.Refused > 0 {
		t.Fatal(refusals)
	}
}

// mergeDifficultRows merges rows that are hard to format: quotes, line breaks, empty texts, nested values, large
// numbers.
func mergeDifficultRows(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	const id = `"id":"00000000-0000-4000-8000-00000000000`
	merge(
		t, w, schema.Calls,
		`{`+id+`1","created_at":"2026-03-01T23:59:59.999+05:30","cost":0.0337,"summary":"नमस्ते, \"x\"\r\n=1;",`+
			`"direction":"inbound","status":"completed","metadata":{"a":[1,"ß",null]},"stt_minutes":0.1,`+
			`"transcript":[{"speaker":"AI","text":"a,\n\"b\"","timestamp_ms":5},{"role":"user","content":""}],`+
			`"tts_characters":9007199254740993,"started_at":"2026-03-01T10:00:00.5Z"}`,
		`{`+id+`2","created_at":"2026-03-02T00:00:00Z"}`,
		`{`+id+`3","created_at":"1970-01-01T00:00:00Z","summary":"","cost":999999.9999,`+
			`"from_number":"+4912","status":"on hold"}`,
	)
	merge(
		t, w, schema.Customers,
		`{`+id+`4","created_at":"2026-03-01","name":"=SUM(A1)","email":"","phone_number":"+4912","variables":{}}`,
	)
	merge(
		t, w, schema.Messages,
		`{`+id+`5","created_at":"2026-03-01","content":{"text":{"body":"\t😀"}},"is_from_bot":false,"message_type":"text"}`,
		`{`+id+`6","created_at":"2026-04-01","direction":"inbound"}`,
	)
}

// mergeManyCalls merges n calls. From 3,000 on, a result has more than one batch.
func mergeManyCalls(t *testing.T, w *warehouse.Warehouse, n int) {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(
			`{"id":%q,"created_at":"2026-03-01T00:00:00Z","summary":"%d %s","direction":"inbound"}`,
			uuid.NewSHA1(tenant, fmt.Append(nil, i)), i, strings.Repeat("words ", 40),
		)
	}
	merge(t, w, schema.Calls, rows...)
}

func export(t *testing.T, name string) schema.Export {
	t.Helper()
	e, err := schema.ExportNamed(name)
	noError(t, err)
	return e
}

// writeToFile writes a stream to a file and returns its path. It checks the number of rows unless rows is negative.
func writeToFile(t *testing.T, w *warehouse.Warehouse, request exports.Request, rows int64) string {
	t.Helper()
	s, err := exports.Open(t.Context(), w, tenant, request)
	noError(t, err)
	var out bytes.Buffer
	n, err := s.Write(t.Context(), &out)
	noError(t, errors.Join(err, s.Close()))
	if rows >= 0 && n != rows {
		t.Errorf("%s as %s: got %d rows, want %d", request.Export.Name, request.Format, n, rows)
	}
	if request.Format == exports.Arrow {
		if checked, err := arrowtest.CheckStream(bytes.NewReader(out.Bytes())); err != nil || checked != n {
			t.Errorf("%s: got %d rows in canonical form, want %d (%v)", request.Export.Name, checked, n, err)
		}
	}
	path := filepath.Join(t.TempDir(), "export"+request.Format.Extension())
	noError(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// openDuckDB returns a connection to a new in-memory DuckDB in UTC.
func openDuckDB(t *testing.T) *sql.Conn {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	t.Cleanup(func() { noError(t, db.Close()) })
	conn, err := db.Conn(t.Context())
	noError(t, err)
	t.Cleanup(func() { noError(t, conn.Close()) })
	_, err = conn.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
	noError(t, err)
	return conn
}

// snapshotConn returns a connection of the warehouse whose default database is the tenant's.
func snapshotConn(t *testing.T, w *warehouse.Warehouse) *sql.Conn {
	t.Helper()
	snapshot, err := w.Snapshot(t.Context(), tenant)
	noError(t, err)
	t.Cleanup(func() { noError(t, snapshot.Close()) })
	return snapshot.Conn
}

// scalar returns the single value of a query as text.
func scalar(t *testing.T, conn *sql.Conn, query string) (text string) {
	t.Helper()
	noError(t, conn.QueryRowContext(t.Context(), query).Scan(&text))
	return text
}

// asText returns an expression of the column as the text formats write it.
func asText(column schema.Column) string {
	switch {
	case column.Type == "TIMESTAMP WITH TIME ZONE":
		return fmt.Sprintf("strftime(%s::TIMESTAMP, '%%Y-%%m-%%dT%%H:%%M:%%S.%%gZ')", column.Name)
	case strings.HasSuffix(column.Type, "]"):
		return "to_json(" + column.Name + ")::VARCHAR"
	}
	return column.Name + "::VARCHAR"
}

// createView creates a relation "got" over a written file. It returns a function that returns, for a column, the
// expressions to compare: of the original row and of the file.
func createView(
	t *testing.T, conn *sql.Conn, format exports.Format, path string,
) (of func(schema.Column) (expected, got string)) {
	t.Helper()
	plain := func(c schema.Column) (string, string) { return c.Name, c.Name }
	view := func(from string) {
		_, err := conn.ExecContext(t.Context(), "CREATE OR REPLACE VIEW got AS FROM "+from)
		noError(t, err)
	}
	switch format {
	case exports.Parquet:
		view("read_parquet('" + path + "')")
		return plain
	case exports.CSV:
		view(
			"read_csv('" + path + "', header = true, all_varchar = true, allow_quoted_nulls = false, strict_mode = true, " +
				"quote = '\"', escape = '\"', delim = ',')",
		)
		return func(c schema.Column) (string, string) { return asText(c), c.Name }
	case exports.NDJSON:
		view("read_json('" + path + "', format = 'newline_delimited', records = false, columns = {json: 'JSON'})")
		return func(c schema.Column) (string, string) {
			if c.Type == "JSON" || strings.HasSuffix(c.Type, "]") || c.Type == "DOUBLE" || strings.HasPrefix(c.Type, "DECIMAL") {
				return "to_json(" + c.Name + ")::VARCHAR", "nullif(json -> '$." + c.Name + "', 'null'::JSON)::VARCHAR"
			}
			return asText(c), "json ->> '$." + c.Name + "'"
		}
	}
	file, err := os.ReadFile(path)
	noError(t, err)
	reader, err := ipc.NewReader(
		bytes.NewReader(file), ipc.WithAllocator(mallocator.NewMallocator()),
	) // DuckDB must be able to point to it
	noError(t, err)
	noError(t, conn.Raw(func(driverConn any) error {
		stream, err := duckdbgo.NewArrowFromConn(driverConn.(driver.Conn))
		if err != nil {
			return err
		}
		release, err := stream.RegisterView(reader, "stream")
		if err == nil {
			t.Cleanup(release)
		}
		return err
	}))
	_, err = conn.ExecContext(t.Context(), "CREATE OR REPLACE TABLE streamed AS FROM stream")
	noError(t, err)
	view("streamed")
	return func(c schema.Column) (string, string) { return c.Name + "::VARCHAR", c.Name + "::VARCHAR" }
}

// Every format contains exactly the rows of the export, whether none, some or all of them are published.
func TestStream_EveryFormatHasEveryRow(t *testing.T) {
	w := openWarehouse(t)
	mergeDifficultRows(t, w)
	mergeManyCalls(t, w, 4_000)
	t.Run("nothing published", func(t *testing.T) {
		checkEveryFormat(t, w, schema.Filter{}, schema.Filter{Direction: "nowhere", Search: "nobody"})
	})
	_, err := w.Publish(t.Context())
	noError(t, err)
	march := schema.Filter{
		From:   time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		Before: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC),
	}
	narrow := schema.Filter{PhoneNumber: "+49 12", Search: "SUM("}
	t.Run("all published", func(t *testing.T) {
		checkEveryFormat(t, w, schema.Filter{}, schema.Filter{Direction: "nowhere", Search: "nobody"}, march, narrow)
	})
	// Change one month and the customers: insert a row, and move a row to another month.
	const id = `"id":"00000000-0000-4000-8000-00000000000`
	merge(
		t, w, schema.Calls,
		`{`+id+`1","created_at":"2026-06-01T00:00:00Z","updated_at":"2026-06-01T00:00:00Z","summary":"moved"}`,
		`{"id":"00000000-0000-4000-8000-0000000000aa","created_at":"2026-06-02T00:00:00Z",`+
			`"from_number":"4912","direction":"inbound","transcript":"AI: good day\nCaller: yes"}`,
	)
	merge(
		t, w, schema.Customers, `{"id":"00000000-0000-4000-8000-0000000000ab","created_at":"2026-03-02","name":"=sum("}`,
	)
	t.Run("part published", func(t *testing.T) { checkEveryFormat(t, w, schema.Filter{}, march, narrow) })
}

// checkEveryFormat compares each export in each format with its rows in the tables, under each filter.
func checkEveryFormat(t *testing.T, w *warehouse.Warehouse, filters ...schema.Filter) {
	conn := openDuckDB(t)
	for _, e := range schema.Exports {
		for _, filter := range filters {
			want := filepath.Join(t.TempDir(), "want.parquet")
			snapshot, err := w.Snapshot(t.Context(), tenant)
			noError(t, err)
			_, err = snapshot.Conn.ExecContext(t.Context(), "COPY ("+e.Select(filter)+") TO '"+want+"' (FORMAT parquet)")
			noError(t, errors.Join(err, snapshot.Close()))
			for _, format := range exports.Formats {
				rows := scalar(t, conn, "SELECT count(*) FROM '"+want+"'")
				var n int64
				_, err := fmt.Sscan(rows, &n)
				noError(t, err)
				path := writeToFile(t, w, exports.Request{Export: e, Filter: filter, Format: format}, n)
				if format == exports.NDJSON && n == 0 {
					continue // DuckDB rejects an empty file as JSON
				}
				of := createView(t, conn, format, path)
				var expected, got []string
				for _, c := range e.Columns {
					a, b := of(c)
					expected, got = append(expected, a), append(got, b)
				}
				left := "SELECT " + strings.Join(expected, ", ") + " FROM '" + want + "'"
				right := "SELECT " + strings.Join(got, ", ") + " FROM got"
				difference := "(" + left + " EXCEPT ALL " + right + ") UNION ALL (" + right + " EXCEPT ALL " + left + ")"
				list := "SELECT coalesce(string_agg(d::VARCHAR, '\n'), '') FROM (" + difference + ") AS d"
				if differ := scalar(t, conn, list); differ != "" {
					t.Errorf("%s as %s, filter %v: rows differ: %.2000s", e.Name, format, filter, differ)
				}
			}
		}
	}
}

func TestStream_SelectsAndDescribesColumns(t *testing.T) {
	w := openWarehouse(t)
	mergeDifficultRows(t, w)
	request := exports.Request{Export: export(t, "calls"), Columns: []string{"cost", "direction"}, Format: exports.Arrow}
	file, err := os.Open(writeToFile(t, w, request, 3))
	noError(t, err)
	defer file.Close()
	reader, err := ipc.NewReader(file)
	noError(t, err)
	defer reader.Release()
	cost := reader.Schema().Field(0)
	unit, _ := cost.Metadata.GetValue("unit")
	if unit != "US dollars" || cost.Type.String() != "decimal(10, 4)" ||
		reader.Schema().Field(1).Type.ID() != arrow.DICTIONARY || reader.Schema().NumFields() != 2 {
		t.Errorf("got schema %v, want cost with its unit and direction as a dictionary", reader.Schema())
	}
	request.Format = exports.Parquet
	about := scalar(
		t, openDuckDB(t),
		"SELECT value::VARCHAR FROM parquet_kv_metadata('"+writeToFile(t, w, request, 3)+"') WHERE key = 'voicory.columns'",
	)
	if !strings.Contains(about, "US dollars") || strings.Contains(about, "transcript") {
		t.Errorf("got metadata %s, want that of the requested columns alone", about)
	}
	for _, columns := range [][]string{{"nothing"}, {"id", "id"}, {"_seq"}, {""}} {
		request.Columns = columns
		if _, err := exports.Open(t.Context(), w, tenant, request); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("columns %q: got %v, want ErrInvalid", columns, err)
		}
	}
}

func TestStream_CSVOptions(t *testing.T) {
	w := openWarehouse(t)
	mergeDifficultRows(t, w)
	request := exports.Request{
		Export:  export(t, "customers"),
		Columns: []string{"name", "email", "phone_number", "last_interaction"},
		Format:  exports.CSV,
	}
	for _, test := range []struct {
		options exports.CSVOptions
		want    string
	}{
		{exports.CSVOptions{}, "name,email,phone_number,last_interaction\n=SUM(A1),\"\",+4912,\n"},
		{
			exports.CSVOptions{BOM: true, EscapeFormulas: true},
			"\ufeffname,email,phone_number,last_interaction\n'=SUM(A1),\"\",'+4912,\n",
		},
	} {
		request.CSV = test.options
		got, err := os.ReadFile(writeToFile(t, w, request, 1))
		noError(t, err)
		if string(got) != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// Every text that a spreadsheet may take for a formula gets an apostrophe, and no other text does.
func TestStream_CSVEscapesFormulas(t *testing.T) {
	w := openWarehouse(t)
	var formulas []string
	starts := "= + - @ ＝ ＋ － ＠ ﹦ ﹢ ﹣ ﹫ ⁼ ₌ ⁺ ₊ ⁻ ₋ − ﬩"
	skipped := []string{
		"", " ", "\t", "\r", "\n", "\r\n", "  \t\n ", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff", "\u202e", "\u0085",
		"\x01",
	}
	for _, start := range strings.Fields(starts) {
		for _, before := range skipped {
			formulas = append(formulas, before+start, before+start+"cmd|'/C calc'!A0,\"x\"\r\n")
		}
	}
	formulas = append(formulas, "\tx", "\rx", "\nx", "\t", "\n=\n")
	plain := []string{
		"", " ", "x=1", "'=1", "a\n=1", "(1)", "1-2", "~", "١", "–", "_x", "\"=1\"", "<=", "नमस्ते", "😀=",
		" x", "\u00a0x",
	}
	var rows []string
	for i, text := range append(formulas, plain...) {
		quoted, err := json.Marshal(text)
		noError(t, err)
		rows = append(
			rows,
			fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01","name":%s}`, uuid.NewSHA1(tenant, fmt.Append(nil, i)), quoted),
		)
	}
	merge(t, w, schema.Customers, rows...)
	request := exports.Request{
		Export:  export(t, "customers"),
		Columns: []string{"id", "name"},
		Format:  exports.CSV,
		CSV:     exports.CSVOptions{EscapeFormulas: true},
	}
	content, err := os.ReadFile(writeToFile(t, w, request, int64(len(rows))))
	noError(t, err)
	names := map[string]string{}
	for _, text := range rows {
		var row struct{ ID, Name string }
		noError(t, json.Unmarshal([]byte(text), &row))
		names[row.ID] = row.Name
	}
	for line := range csvRecords(t, string(content)) {
		want := names[line[0]]
		if slices.Contains(formulas, want) {
			want = "'" + want
		}
		if line[1] != want && line[0] != "id" {
			t.Errorf("got %q, want %q", line[1], want)
		}
	}
}

// csvRecords returns the records of a CSV text as RFC 4180 defines them. Package encoding/csv is not used because it
// drops the CR of a line break within quotes.
func csvRecords(t *testing.T, text string) iter.Seq[[]string] {
	t.Helper()
	return func(yield func([]string) bool) {
		for len(text) > 0 {
			var record []string
			for more := true; more; {
				var field string
				if strings.HasPrefix(text, `"`) {
					text = text[1:]
					for {
						part, rest, ok := strings.Cut(text, `"`)
						if !ok {
							t.Fatalf("unterminated quotes: %q", text)
						}
						field, text = field+part, rest
						if !strings.HasPrefix(text, `"`) {
							break
						}
						field, text = field+`"`, text[1:]
					}
				} else {
					end := strings.IndexAny(text, ",\n")
					field, text = text[:end], text[end:]
				}
				record, more, text = append(record, field), text[0] == ',', text[1:]
			}
			if !yield(record) {
				return
			}
		}
	}
}

// A stream contains the rows of the time it was opened, from tables and from published files. This holds even if the
// published files are replaced and removed before it is written.
func TestStream_ReadsOneSnapshot(t *testing.T) {
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	mergeManyCalls(t, w, 3_000)
	for _, published := range []bool{false, true} {
		for _, format := range exports.Formats {
			if published {
				_, err := w.Publish(t.Context())
				noError(t, err)
			}
			s, err := exports.Open(t.Context(), w, tenant, exports.Request{Export: export(t, "calls"), Format: format})
			noError(t, err)
			rows, err := s.Count(t.Context())
			noError(t, err)
			merge(t, w, schema.Calls, fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01T00:00:00Z"}`, uuid.New()))
			if published {
				_, err := w.Publish(t.Context())
				noError(t, errors.Join(err, os.RemoveAll(filepath.Join(dir, "published", "replaced"))))
			}
			got, err := s.Write(t.Context(), &bytes.Buffer{})
			noError(t, errors.Join(err, s.Close()))
			if got != rows {
				t.Errorf("%s, published %t: got %d rows, want %d", format, published, got, rows)
			}
		}
	}
}

// A failingWriter accepts some bytes. Each further write calls then and returns its error, if any.
type failingWriter struct {
	left int
	then func() error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		if err := w.then(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// countOpenFiles returns the number of open file descriptors of the process.
func countOpenFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("needs /proc/self/fd")
	}
	return len(entries)
}

// A stream whose client fails or whose context ends leaves no goroutine and no open file, and the connection stays
// usable.
func TestStream_FailedClientLeavesNothingOpen(t *testing.T) {
	w := openWarehouse(t)
	mergeManyCalls(t, w, 15_000)
	gone := errors.New("gone")
	for _, format := range exports.Formats {
		request := exports.Request{Export: export(t, "calls"), Format: format}
		writeToFile(t, w, request, 15_000)
		before := countOpenFiles(t)
		for range 3 {
			for _, kind := range []error{gone, context.Canceled} {
				ctx, cancel := context.WithCancel(t.Context())
				s, err := exports.Open(ctx, w, tenant, request)
				noError(t, err)
				_, err = s.Write(ctx, &failingWriter{left: 1000, then: func() error {
					if errors.Is(kind, gone) {
						return gone
					}
					cancel()
					return nil
				}})
				cancel()
				if !errors.Is(err, kind) {
					t.Errorf("%s: got %v, want %v", format, err, kind)
				}
				noError(t, s.Close())
			}
		}
		if after := countOpenFiles(t); after > before {
			t.Errorf("%s: got %d open files, want at most %d", format, after, before)
		}
		writeToFile(t, w, request, 15_000)
	}
}

// If a statement fails midway, the output lacks the end of its format. For streamed rows, DuckDB reports either the
// cause or "A thread failed".
func TestWrite_FailureMidwayWritesNoEnd(t *testing.T) {
	w := openWarehouse(t)
	about := schema.Export{Name: "figures"}
	statement := "SELECT CASE WHEN i = 900000 THEN error('broken') ELSE i::VARCHAR END AS i FROM range(1000000) AS r(i)"
	for _, format := range exports.Formats {
		result := exports.Result{About: about, Statement: statement}
		var out bytes.Buffer
		_, err := exports.Write(t.Context(), snapshotConn(t, w), result, format, exports.CSVOptions{}, &out)
		failure := (*duckdbgo.Error)(nil)
		if !errors.As(err, &failure) ||
			!strings.Contains(failure.Msg, "broken") && !strings.Contains(failure.Msg, "A thread failed") {
			t.Errorf("%s: got %v, want the error of the statement", format, err)
		}
		end := out.Bytes()[max(out.Len()-8, 0):]
		switch {
		case format == exports.Parquet && bytes.HasSuffix(end, []byte("PAR1")) && out.Len() > 4,
			format == exports.Arrow && (out.Len() == 0 || bytes.Equal(end, []byte{255, 255, 255, 255, 0, 0, 0, 0})):
			t.Errorf("%s: got %d bytes with the end of the format: %x", format, out.Len(), end)
		}
	}
}

// If a statement fails before its first row, the text formats write no byte, so that an HTTP handler can still send an
// error.
func TestWrite_FailureAtOnceWritesNothing(t *testing.T) {
	w := openWarehouse(t)
	for _, format := range []exports.Format{exports.CSV, exports.NDJSON} {
		var out bytes.Buffer
		_, err := exports.Write(
			t.Context(),
			snapshotConn(t, w),
			exports.Result{
				About:     schema.Export{Name: "figures"},
				Statement: "SELECT error('broken')::VARCHAR AS i FROM range(3)",
			},
			format,
			exports.CSVOptions{BOM: true},
			&out,
		)
		if err == nil || !strings.Contains(err.Error(), "broken") || out.Len() > 0 {
			t.Errorf("%s: got error %v and output %q, want an error and no output", format, err, out.String())
		}
	}
}

// Write accepts statements whose columns are not described.
func TestWrite_UndescribedColumns(t *testing.T) {
	w := openWarehouse(t)
	result := exports.Result{
		About: schema.Export{Name: "figures", Columns: []schema.Column{
			{Field: schema.Field{Name: "b", ID: 7}, Description: "A list."}}},
		Statement: "SELECT 1 AS \"a \"\"x\", [1, NULL] AS b, {'c': 'd'} AS s",
	}
	for format, want := range map[exports.Format]string{
		exports.CSV:    "\"a \"\"x\",b,s\n1,\"[1,null]\",\"{\"\"c\"\":\"\"d\"\"}\"\n",
		exports.NDJSON: "{\"a \\\"x\":1,\"b\":[1,null],\"s\":{\"c\":\"d\"}}\n",
	} {
		var out bytes.Buffer
		_, err := exports.Write(t.Context(), snapshotConn(t, w), result, format, exports.CSVOptions{}, &out)
		noError(t, err)
		if out.String() != want {
			t.Errorf("%s: got %q, want %q", format, out.String(), want)
		}
	}
}

func TestFormat_NamedByNameAndFile(t *testing.T) {
	for _, f := range exports.Formats {
		for _, path := range []string{"x." + string(f), "a.b/x" + strings.ToUpper(f.Extension())} {
			if got, err := exports.FormatOfFile(path); err != nil || got != f {
				t.Errorf("FormatOfFile(%q): got %q (%v), want %q", path, got, err, f)
			}
		}
		if got, err := exports.FormatNamed(string(f)); err != nil || got != f {
			t.Errorf("FormatNamed(%q): got %q (%v)", f, got, err)
		}
	}
	for _, name := range []string{"", "x", "calls.txt"} {
		if _, err := exports.FormatNamed(name); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("FormatNamed(%q): got %v, want ErrInvalid", name, err)
		}
		if _, err := exports.FormatOfFile(name); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("FormatOfFile(%q): got %v, want ErrInvalid", name, err)
		}
	}
}
