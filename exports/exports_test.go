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
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var tenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *warehouse.Warehouse {
	t.Helper()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir()})
	noError(t, err)
	t.Cleanup(func() { noError(t, w.Close()) })
	return w
}

// merge takes rows in; each is JSON without what all have.
func merge(t *testing.T, w *warehouse.Warehouse, dataset warehouse.Dataset, rows ...string) {
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
	counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Tenant: tenant, Origin: "test", Rows: warehouse.Lines{Reader: reader}})
	noError(t, err)
	if counts.Refused > 0 {
		t.Fatal(refusals)
	}
}

// difficult are rows that formats may stumble over.
func difficult(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	const id = `"id":"00000000-0000-4000-8000-00000000000`
	merge(t, w, warehouse.Calls,
		`{`+id+`1","created_at":"2026-03-01T23:59:59.999+05:30","cost":0.0337,"summary":"नमस्ते, \"x\"\r\n=1;","direction":"inbound","status":"completed","transcript":[{"speaker":"AI","text":"a,\n\"b\"","timestamp_ms":5},{"role":"user","content":""}],"metadata":{"a":[1,"ß",null]},"stt_minutes":0.1,"tts_characters":9007199254740993,"started_at":"2026-03-01T10:00:00.5Z"}`,
		`{`+id+`2","created_at":"2026-03-02T00:00:00Z"}`,
		`{`+id+`3","created_at":"1970-01-01T00:00:00Z","summary":"","cost":999999.9999,"from_number":"+4912","status":"on hold"}`)
	merge(t, w, warehouse.Customers, `{`+id+`4","created_at":"2026-03-01","name":"=SUM(A1)","email":"","phone_number":"+4912","variables":{}}`)
	merge(t, w, warehouse.Messages, `{`+id+`5","created_at":"2026-03-01","content":{"text":{"body":"\t😀"}},"is_from_bot":false,"message_type":"text"}`,
		`{`+id+`6","created_at":"2026-04-01","direction":"inbound"}`)
}

// many are calls enough for more than one part and row group.
func many(t *testing.T, w *warehouse.Warehouse, n int) {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01T00:00:00Z","summary":"%d %s","direction":"inbound"}`, uuid.NewSHA1(tenant, fmt.Append(nil, i)), i, strings.Repeat("words ", 40))
	}
	merge(t, w, warehouse.Calls, rows...)
}

func export(t *testing.T, name string) warehouse.Export {
	t.Helper()
	e, err := warehouse.ExportNamed(name)
	noError(t, err)
	return e
}

// written is a stream as a file.
func written(t *testing.T, w *warehouse.Warehouse, request exports.Request, rows int64) string {
	t.Helper()
	s, err := exports.Open(t.Context(), w, tenant, request)
	noError(t, err)
	var out bytes.Buffer
	n, err := s.Write(t.Context(), &out)
	noError(t, errors.Join(err, s.Close()))
	if rows >= 0 && n != rows {
		t.Errorf("%s as %s has %d rows, not %d", request.Export.Name, request.Format, n, rows)
	}
	if request.Format == exports.Arrow {
		if checked, err := arrowtest.CheckStream(bytes.NewReader(out.Bytes())); err != nil || checked != n {
			t.Errorf("%s: got %d rows of %d in canonical form: %v", request.Export.Name, checked, n, err)
		}
	}
	path := filepath.Join(t.TempDir(), "export"+request.Format.Extension())
	noError(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// reading is a DuckDB that reads what was written.
func reading(t *testing.T) *sql.Conn {
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

// standing is a connection of the warehouse's, which stands in a tenant's database.
func standing(t *testing.T, w *warehouse.Warehouse) *sql.Conn {
	t.Helper()
	snapshot, err := w.Snapshot(t.Context(), tenant)
	noError(t, err)
	t.Cleanup(func() { noError(t, snapshot.Close()) })
	return snapshot.Conn
}

func scalar(t *testing.T, conn *sql.Conn, query string) (text string) {
	t.Helper()
	noError(t, conn.QueryRowContext(t.Context(), query).Scan(&text))
	return text
}

// asText is a column as the formats that are texts have it.
func asText(column warehouse.Column) string {
	switch {
	case column.Type == "TIMESTAMP WITH TIME ZONE":
		return fmt.Sprintf("strftime(%s::TIMESTAMP, '%%Y-%%m-%%dT%%H:%%M:%%S.%%gZ')", column.Name)
	case strings.HasSuffix(column.Type, "]"):
		return "to_json(" + column.Name + ")::VARCHAR"
	}
	return column.Name + "::VARCHAR"
}

// viewOf makes what was written a view of the connection, and returns what each column must be compared as.
func viewOf(t *testing.T, conn *sql.Conn, format exports.Format, path string) (of func(warehouse.Column) (expected, got string)) {
	t.Helper()
	plain := func(c warehouse.Column) (string, string) { return c.Name, c.Name }
	view := func(from string) {
		_, err := conn.ExecContext(t.Context(), "CREATE VIEW got AS FROM "+from)
		noError(t, err)
	}
	switch format {
	case exports.Parquet:
		view("read_parquet('" + path + "')")
		return plain
	case exports.CSV:
		view("read_csv('" + path + "', header = true, all_varchar = true, allow_quoted_nulls = false, strict_mode = true, quote = '\"', escape = '\"', delim = ',')")
		return func(c warehouse.Column) (string, string) { return asText(c), c.Name }
	case exports.NDJSON:
		view("read_json('" + path + "', format = 'newline_delimited', records = false, columns = {json: 'JSON'})")
		return func(c warehouse.Column) (string, string) {
			if c.Type == "JSON" || strings.HasSuffix(c.Type, "]") || c.Type == "DOUBLE" || strings.HasPrefix(c.Type, "DECIMAL") {
				return "to_json(" + c.Name + ")::VARCHAR", "nullif(json -> '$." + c.Name + "', 'null'::JSON)::VARCHAR"
			}
			return asText(c), "json ->> '$." + c.Name + "'"
		}
	}
	file, err := os.ReadFile(path)
	noError(t, err)
	reader, err := ipc.NewReader(bytes.NewReader(file), ipc.WithAllocator(mallocator.NewMallocator())) // DuckDB must be able to point to it
	noError(t, err)
	noError(t, conn.Raw(func(c any) error {
		a, err := duckdb.NewArrowFromConn(c.(driver.Conn))
		if err != nil {
			return err
		}
		release, err := a.RegisterView(reader, "stream")
		t.Cleanup(release)
		return err
	}))
	_, err = conn.ExecContext(t.Context(), "CREATE TABLE got AS FROM stream")
	noError(t, err)
	return func(c warehouse.Column) (string, string) { return c.Name + "::VARCHAR", c.Name + "::VARCHAR" }
}

// Every format has the very rows of the export, whatever is in them, and whatever of them is published.
func TestEveryFormatHasEveryRow(t *testing.T) {
	w := open(t)
	difficult(t, w)
	many(t, w, 9_000)
	t.Run("nothing is published", func(t *testing.T) {
		everyFormat(t, w, warehouse.Filter{}, warehouse.Filter{Direction: "nowhere", Search: "nobody"})
	})
	_, err := w.Publish(t.Context())
	noError(t, err)
	march := warehouse.Filter{From: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Before: time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)}
	narrow := warehouse.Filter{PhoneNumber: "+49 12", Search: "SUM("}
	t.Run("all is published", func(t *testing.T) {
		everyFormat(t, w, warehouse.Filter{}, warehouse.Filter{Direction: "nowhere", Search: "nobody"}, march, narrow)
	})
	// One month and the customers are changed: a row more, and one that has moved to another month.
	const id = `"id":"00000000-0000-4000-8000-00000000000`
	merge(t, w, warehouse.Calls, `{`+id+`1","created_at":"2026-06-01T00:00:00Z","updated_at":"2026-06-01T00:00:00Z","summary":"moved"}`,
		`{"id":"00000000-0000-4000-8000-0000000000aa","created_at":"2026-06-02T00:00:00Z","from_number":"4912","direction":"inbound","transcript":"AI: good day\nCaller: yes"}`)
	merge(t, w, warehouse.Customers, `{"id":"00000000-0000-4000-8000-0000000000ab","created_at":"2026-03-02","name":"=sum("}`)
	t.Run("some is published", func(t *testing.T) { everyFormat(t, w, warehouse.Filter{}, march, narrow) })
}

func everyFormat(t *testing.T, w *warehouse.Warehouse, filters ...warehouse.Filter) {
	for _, e := range warehouse.Exports {
		for _, filter := range filters {
			want := filepath.Join(t.TempDir(), "want.parquet")
			snapshot, err := w.Snapshot(t.Context(), tenant)
			noError(t, err)
			_, err = snapshot.Conn.ExecContext(t.Context(), "COPY ("+e.Select(filter)+") TO '"+want+"' (FORMAT parquet)")
			noError(t, errors.Join(err, snapshot.Close()))
			for _, format := range exports.Formats {
				conn := reading(t)
				rows := scalar(t, conn, "SELECT count(*) FROM '"+want+"'")
				var n int64
				_, err := fmt.Sscan(rows, &n)
				noError(t, err)
				path := written(t, w, exports.Request{Export: e, Filter: filter, Format: format}, n)
				if format == exports.NDJSON && n == 0 {
					continue // an empty file is no JSON to DuckDB
				}
				of := viewOf(t, conn, format, path)
				var expected, got []string
				for _, c := range e.Columns {
					a, b := of(c)
					expected, got = append(expected, a), append(got, b)
				}
				left, right := "SELECT "+strings.Join(expected, ", ")+" FROM '"+want+"'", "SELECT "+strings.Join(got, ", ")+" FROM got"
				if differ := scalar(t, conn, fmt.Sprintf("SELECT coalesce(string_agg(d::VARCHAR, '\n'), '') FROM ((%s EXCEPT ALL %s) UNION ALL (%[2]s EXCEPT ALL %[1]s)) AS d", left, right)); differ != "" {
					t.Errorf("%s within %v as %s: %.2000s", e.Name, filter, format, differ)
				}
			}
		}
	}
}

func TestColumnsAreChosenAndDescribed(t *testing.T) {
	w := open(t)
	difficult(t, w)
	request := exports.Request{Export: export(t, "calls"), Columns: []string{"cost", "direction"}, Format: exports.Arrow}
	file, err := os.Open(written(t, w, request, 3))
	noError(t, err)
	defer file.Close()
	reader, err := ipc.NewReader(file)
	noError(t, err)
	defer reader.Release()
	cost := reader.Schema().Field(0)
	if unit, _ := cost.Metadata.GetValue("unit"); unit != "US dollars" || cost.Type.String() != "decimal(10, 4)" || reader.Schema().Field(1).Type.ID() != arrow.DICTIONARY || reader.Schema().NumFields() != 2 {
		t.Error(reader.Schema())
	}
	request.Format = exports.Parquet
	about := scalar(t, reading(t), "SELECT value::VARCHAR FROM parquet_kv_metadata('"+written(t, w, request, 3)+"') WHERE key = 'voicory.columns'")
	if !strings.Contains(about, "US dollars") || strings.Contains(about, "transcript") {
		t.Error(about)
	}
	for _, columns := range [][]string{{"nothing"}, {"id", "id"}, {"_seq"}, {""}} {
		request.Columns = columns
		if _, err := exports.Open(t.Context(), w, tenant, request); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("columns %q: %v", columns, err)
		}
	}
}

func TestCSVForSpreadsheets(t *testing.T) {
	w := open(t)
	difficult(t, w)
	request := exports.Request{Export: export(t, "customers"), Columns: []string{"name", "email", "phone_number", "last_interaction"}, Format: exports.CSV}
	for _, test := range []struct {
		options exports.CSVOptions
		want    string
	}{
		{exports.CSVOptions{}, "name,email,phone_number,last_interaction\n=SUM(A1),\"\",+4912,\n"},
		{exports.CSVOptions{BOM: true, EscapeFormulas: true}, "\ufeffname,email,phone_number,last_interaction\n'=SUM(A1),\"\",'+4912,\n"},
	} {
		request.CSV = test.options
		got, err := os.ReadFile(written(t, w, request, 1))
		noError(t, err)
		if string(got) != test.want {
			t.Errorf("%q, not %q", got, test.want)
		}
	}
}

// Every spelling of the start of a formula gets an apostrophe, and no other text does. Each text is read back from the CSV.
func TestCSV_FormulasAreEscaped(t *testing.T) {
	w := open(t)
	var formulas []string
	for _, start := range []string{"=", "+", "-", "@", "＝", "＋", "－", "＠", "﹦", "﹢", "﹣", "﹫", "⁼", "₌", "⁺", "₊", "⁻", "₋", "−", "﬩"} {
		for _, before := range []string{"", " ", "\t", "\r", "\n", "\r\n", "  \t\n ", "\u00a0", "\u3000", "\u2028", "\u200b", "\ufeff", "\u202e", "\u0085", "\x01"} {
			formulas = append(formulas, before+start, before+start+"cmd|'/C calc'!A0,\"x\"\r\n")
		}
	}
	formulas = append(formulas, "\tx", "\rx", "\nx", "\t", "\n=\n")
	plain := []string{"", " ", "x=1", "'=1", "a\n=1", "(1)", "1-2", "~", "١", "–", "_x", "\"=1\"", "<=", "नमस्ते", "😀=", " x", "\u00a0x"}
	var rows []string
	for i, text := range append(formulas, plain...) {
		quoted, err := json.Marshal(text)
		noError(t, err)
		rows = append(rows, fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01","name":%s}`, uuid.NewSHA1(tenant, fmt.Append(nil, i)), quoted))
	}
	merge(t, w, warehouse.Customers, rows...)
	request := exports.Request{Export: export(t, "customers"), Columns: []string{"id", "name"}, Format: exports.CSV, CSV: exports.CSVOptions{EscapeFormulas: true}}
	content, err := os.ReadFile(written(t, w, request, int64(len(rows))))
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

// csvRecords reads CSV as RFC 4180 has it. Package encoding/csv drops the CR of a line break within quotes.
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
							t.Fatalf("no end of quotes: %q", text)
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

// A stream is of the moment at which it was opened, whether it reads tables or published files, and although these are replaced and gone.
func TestStreamIsOneState(t *testing.T) {
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	many(t, w, 3_000)
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
			merge(t, w, warehouse.Calls, fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01T00:00:00Z"}`, uuid.New()))
			if published {
				_, err := w.Publish(t.Context())
				noError(t, errors.Join(err, os.RemoveAll(filepath.Join(dir, "published", "replaced"))))
			}
			got, err := s.Write(t.Context(), &bytes.Buffer{})
			noError(t, errors.Join(err, s.Close()))
			if got != rows {
				t.Errorf("%s, published %t: %d rows of %d", format, published, got, rows)
			}
		}
	}
}

// breaking takes some bytes, then does something, then fails or goes on.
type breaking struct {
	left int
	then func() error
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		if err := b.then(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("only Linux lists a process's files")
	}
	return len(entries)
}

// Whoever leaves, or is cut off, leaves nothing behind: no goroutine, no open file, and a connection that works.
func TestBrokenStreamsEnd(t *testing.T) {
	w := open(t)
	many(t, w, 40_000)
	gone := errors.New("gone")
	for _, format := range exports.Formats {
		request := exports.Request{Export: export(t, "calls"), Format: format}
		written(t, w, request, 40_000)
		before := openFiles(t)
		for range 5 {
			for _, kind := range []error{gone, context.Canceled} {
				ctx, cancel := context.WithCancel(t.Context())
				s, err := exports.Open(ctx, w, tenant, request)
				noError(t, err)
				_, err = s.Write(ctx, &breaking{left: 1000, then: func() error {
					if errors.Is(kind, gone) {
						return gone
					}
					cancel()
					return nil
				}})
				cancel()
				if !errors.Is(err, kind) {
					t.Errorf("%s: %v instead of %v", format, err, kind)
				}
				noError(t, s.Close())
			}
		}
		if after := openFiles(t); after > before {
			t.Errorf("%s: %d open files became %d", format, before, after)
		}
		written(t, w, request, 40_000)
	}
}

// A statement that fails midway leaves a part without the end of its format. Of streamed rows DuckDB may tell why, or that a thread failed.
func TestFailureMidwayIsNoEnd(t *testing.T) {
	w := open(t)
	about := warehouse.Export{Name: "figures"}
	statement := "SELECT CASE WHEN i = 900000 THEN error('broken') ELSE i::VARCHAR END AS i FROM range(1000000) AS r(i)"
	for _, format := range exports.Formats {
		result := exports.Result{About: about, Statement: statement}
		var out bytes.Buffer
		_, err := exports.Write(t.Context(), standing(t, w), result, format, exports.CSVOptions{}, &out)
		failure := (*duckdb.Error)(nil)
		if !errors.As(err, &failure) || !strings.Contains(failure.Msg, "broken") && !strings.Contains(failure.Msg, "A thread failed") {
			t.Errorf("%s: %v", format, err)
		}
		end := out.Bytes()[max(out.Len()-8, 0):]
		switch {
		case format == exports.Parquet && bytes.HasSuffix(end, []byte("PAR1")) && out.Len() > 4,
			format == exports.Arrow && (out.Len() == 0 || bytes.Equal(end, []byte{255, 255, 255, 255, 0, 0, 0, 0})):
			t.Errorf("%s of %d bytes ends well: %x", format, out.Len(), end)
		}
	}
}

// Of a statement that fails at once, no byte leaves of a format that is text: whoever asked can be told why.
func TestFailureAtOnceLeavesNothing(t *testing.T) {
	w := open(t)
	for _, format := range []exports.Format{exports.CSV, exports.NDJSON} {
		var out bytes.Buffer
		_, err := exports.Write(t.Context(), standing(t, w), exports.Result{About: warehouse.Export{Name: "figures"}, Statement: "SELECT error('broken')::VARCHAR AS i FROM range(3)"}, format, exports.CSVOptions{BOM: true}, &out)
		if err == nil || !strings.Contains(err.Error(), "broken") || out.Len() > 0 {
			t.Errorf("%s: %v, and %q was written", format, err, out.String())
		}
	}
}

// Any statement can be written, of which nothing is known.
func TestAnyStatement(t *testing.T) {
	w := open(t)
	result := exports.Result{About: warehouse.Export{Name: "figures", Columns: []warehouse.Column{{Name: "b", Description: "A list."}}},
		Statement: "SELECT 1 AS \"a \"\"x\", [1, NULL] AS b, {'c': 'd'} AS s"}
	for format, want := range map[exports.Format]string{exports.CSV: "\"a \"\"x\",b,s\n1,\"[1,null]\",\"{\"\"c\"\":\"\"d\"\"}\"\n", exports.NDJSON: "{\"a \\\"x\":1,\"b\":[1,null],\"s\":{\"c\":\"d\"}}\n"} {
		var out bytes.Buffer
		_, err := exports.Write(t.Context(), standing(t, w), result, format, exports.CSVOptions{}, &out)
		noError(t, err)
		if out.String() != want {
			t.Errorf("%s: %q, not %q", format, out.String(), want)
		}
	}
}

func TestFormatsAreNamed(t *testing.T) {
	for _, f := range exports.Formats {
		for _, path := range []string{"x." + string(f), "a.b/x" + strings.ToUpper(f.Extension())} {
			if got, err := exports.FormatOfFile(path); err != nil || got != f {
				t.Error(path, got, err)
			}
		}
		if got, err := exports.FormatNamed(string(f)); err != nil || got != f {
			t.Error(f, got, err)
		}
	}
	for _, name := range []string{"", "x", "calls.txt"} {
		if _, err := exports.FormatNamed(name); !errors.Is(err, warehouse.ErrInvalid) {
			t.Error(name, err)
		}
		if _, err := exports.FormatOfFile(name); !errors.Is(err, warehouse.ErrInvalid) {
			t.Error(name, err)
		}
	}
}
