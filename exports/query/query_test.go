package query

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/exports/query/internal/querytest"
	"github.com/voicory/warehouse/exports/query/internal/worker"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Helpers of package warehousetest.
var (
	merge = warehousetest.MergeNew
)

// probes are what TestMain can run in a worker, by name. There are some where there is a sandbox.
var probes map[string]worker.Hooks

// TestMain runs the test binary as a worker if it is started as one. A second argument names a probe to run in the
// worker.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == WorkerArgument:
		os.Exit(Work())
	case len(os.Args) == 3 && os.Args[1] == WorkerArgument:
		os.Exit(worker.Work(probes[os.Args[2]])) // see TestWork_KernelAloneConfines
	}
	goleak.VerifyTestMain(program{m})
}

var (
	tenantA  = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	tenantB  = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000002")
	noTenant = uuid.MustParse("cccccccc-0000-4000-8000-000000000003")
)

// canary is a text that no result may contain. It is in tenantB's rows, in a file in the data folder, and in the
// environment.
const canary = "canary-7f3a"

// lake is the warehouse that tests share. No test changes it.
var lake struct {
	once      sync.Once
	warehouse *warehouse.Warehouse // nil if it could not be filled
	dir       string
}

// sharedLake returns the warehouse that tests share, with the rows of openLake.
func sharedLake(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	lake.once.Do(func() {
		var err error
		lake.dir, err = os.MkdirTemp("", "lake")
		querytest.NoError(t, err)
		w := warehousetest.Open(t, lake.dir)
		fillLake(t, w)
		lake.warehouse = w
	})
	if lake.warehouse == nil {
		t.Fatal("the warehouse that tests share was not filled")
	}
	return lake.warehouse
}

// A program runs all tests and closes the warehouse that they share.
type program struct{ *testing.M }

// Run implements goleak.TestingM.
func (p program) Run() int {
	status := p.M.Run()
	if lake.warehouse != nil {
		if err := errors.Join(lake.warehouse.Close(), os.RemoveAll(lake.dir)); err != nil {
			fmt.Fprintln(os.Stderr, "close the warehouse that tests share:", err)
			return 1
		}
	}
	return status
}

// openLake returns a warehouse of its own for a test that changes its files.
func openLake(t testing.TB) *warehouse.Warehouse {
	t.Helper()
	w := warehousetest.OpenNew(t)
	fillLake(t, w)
	return w
}

// fillLake publishes the rows of two tenants: 200 calls in four months and a customer of tenantA, and a call of
// tenantB.
func fillLake(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	var calls []string
	for n := range 200 {
		calls = append(calls, fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","status":%q,`+
			`"direction":"inbound","cost":%d.25,"duration_seconds":%d,`+
			`"transcript":[{"role":"user","content":"hi %d"}],"metadata":{"n": %d},"created_at":"2026-%02d-03T10:00:00.5Z"}`,
			tenantA, n, []string{"completed", "failed"}[n%2], n%3, n, n, n, 1+n%4))
	}
	merge(t, w, schema.Calls, calls...)
	const call = `{"user_id":%q,"id":"00000000-0000-4000-8000-000000000900","summary":%q,"created_at":"2026-01-01"}`
	merge(t, w, schema.Calls, fmt.Sprintf(call, tenantB, canary))
	const customer = `{"user_id":%q,"id":"00000000-0000-4000-8000-000000000901","name":"Asha Rao",` +
		`"created_at":"2026-01-01"}`
	merge(t, w, schema.Customers, fmt.Sprintf(customer, tenantA))
	_, err := w.Publish(t.Context())
	querytest.NoError(t, err)
}

// newRunner returns a runner whose workers are this test binary.
func newRunner(t testing.TB, files Files, tune ...func(*Options)) *Runner {
	t.Helper()
	program, err := os.Executable()
	querytest.NoError(t, err)
	options := Options{Files: files, Command: []string{program, WorkerArgument}, IdleWorkers: 1,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, change := range tune {
		change(&options)
	}
	runner, err := New(options)
	querytest.NoError(t, err)
	t.Cleanup(runner.Close)
	return runner
}

// runQuery runs a query to its end, by default of tenantA, and returns the result and its outcome.
func runQuery(ctx context.Context, r *Runner, request Request) (string, Outcome, error) {
	if request.Tenant == uuid.Nil {
		request.Tenant = tenantA
	}
	result, err := r.Start(ctx, uuid.NewString(), request)
	if err != nil {
		return "", Outcome{}, err
	}
	defer result.Close()
	var out bytes.Buffer
	if _, err := result.WriteTo(&out); err != nil {
		return out.String(), Outcome{}, err
	}
	return out.String(), *result.Outcome, nil
}

// A jsonResult is a result in the format JSON or JSONColumns.
type jsonResult struct {
	Columns   []jsonColumn        `json:"columns"`
	Rows      [][]json.RawMessage `json:"rows"`
	Values    [][]json.RawMessage `json:"values"`
	RowCount  int64               `json:"row_count"`
	Truncated *string             `json:"truncated"`
	AsOf      *time.Time          `json:"as_of"`
	QueryID   string              `json:"query_id"`
	ElapsedMS float64             `json:"elapsed_ms"`
}

type jsonColumn struct{ Name, Type string }

// text returns the rows with spaces between their cells and "; " between rows.
func (a jsonResult) text() string {
	var rows []string
	for _, row := range a.Rows {
		var cells []string
		for _, cell := range row {
			cells = append(cells, string(cell))
		}
		rows = append(rows, strings.Join(cells, " "))
	}
	return strings.Join(rows, "; ")
}

// mustQuery runs a query of tenantA, with at most one text of parameters, and returns its JSON result.
func mustQuery(t testing.TB, r *Runner, sql string, params ...string) jsonResult {
	t.Helper()
	request := Request{SQL: sql}
	if len(params) > 0 {
		request.Params = json.RawMessage(params[0])
	}
	text, _, err := runQuery(t.Context(), r, request)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	var a jsonResult
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%s: %v: %s", sql, err, text)
	}
	return a
}

func TestQuery_ReadsTheSnapshot(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	for _, c := range []struct{ sql, want string }{
		{"SELECT count(*), sum(cost), min(created_at) FROM calls", `200 249.0000 "2026-01-03T10:00:00.500Z"`},
		{"FROM calls SELECT status, count(*) GROUP BY ALL ORDER BY ALL", `"completed" 100; "failed" 100`},
		{"WITH x AS (SELECT day, calls FROM cost_daily) SELECT sum(calls) FROM x", "200"},
		{"SELECT text FROM transcript_turns ORDER BY created_at, text LIMIT 1", `"hi 0"`},
		{"SELECT name FROM customers", `"Asha Rao"`},
		{"SELECT count(*), max(created_at) FROM messages", "0 null"},
		{"VALUES (1), (2);", "1; 2"},
		{"SELECT metadata FROM calls WHERE duration_seconds = 7", `{"n":7}`},
		{"SHOW TABLES", `"calls"; "cost_daily"; "customers"; "messages"; "transcript_turns"`},
		{"SELECT column_name, column_type FROM (DESCRIBE messages) WHERE column_name = 'created_at'",
			`"created_at" "TIMESTAMP WITH TIME ZONE"`},
		{"SELECT count(*) FROM (SUMMARIZE calls)", "22"},
		// the session's time zone is UTC
		{"SELECT (TIMESTAMPTZ '2026-01-01 00:00:00+05:30')::VARCHAR", `"2025-12-31 18:30:00+00"`},
		{"-- a comment\nSELECT 1 /* ; SELECT 2 */ -- ; SELECT 3", "1"},
	} {
		if got := mustQuery(t, r, c.sql).text(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.sql, got, c.want)
		}
	}
	a := mustQuery(t, r, "EXPLAIN SELECT * FROM calls")
	if len(a.Rows) != 1 || a.AsOf == nil || a.QueryID == "" || a.ElapsedMS <= 0 || a.RowCount != 1 || a.Truncated != nil {
		t.Errorf("got %+v, want one row with all metadata", a)
	}
	_, _, err := runQuery(t.Context(), r, Request{Tenant: noTenant, SQL: "SELECT 1"})
	if !errors.Is(err, warehouse.ErrNotFound) && err != nil {
		t.Errorf("a tenant without files: got %v, want ErrNotFound or nil", err)
	}
}

// The comments of the views and columns are the descriptions of the exports.
func TestQuery_ViewsHaveComments(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	a := mustQuery(t, r, "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "+
		"WHERE schema_name = 'main' AND NOT internal ORDER BY table_oid, column_index")
	var want [][4]string
	for _, export := range schema.Exports {
		for _, c := range export.Columns {
			want = append(want, [4]string{export.Name, c.Name, c.Type, c.Comment()})
		}
	}
	if len(a.Rows) != len(want) {
		t.Fatalf("got %d columns, want %d", len(a.Rows), len(want))
	}
	for i, row := range a.Rows {
		for j := range row {
			if cell, _ := json.Marshal(want[i][j]); !strings.EqualFold(decodeText(row[j]), decodeText(cell)) {
				t.Errorf("got %s, want %s", row[j], cell)
			}
		}
	}
	if got := mustQuery(t, r, "SELECT count(comment) FROM duckdb_views() "+
		"WHERE NOT internal").text(); got != fmt.Sprint(len(schema.Exports)) {
		t.Errorf("got %s views with a comment, want %d", got, len(schema.Exports))
	}
}

// decodeText returns the text of a JSON string, or "" if it is not a string.
func decodeText(text []byte) (s string) {
	_ = json.Unmarshal(text, &s)
	return s
}

func TestQuery_Parameters(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	for _, c := range []struct{ sql, params, want string }{
		{"SELECT count(*) FROM calls WHERE status = ? AND duration_seconds < ?", `["failed", 10]`, "5"},
		{"SELECT $2, $1, $1", `["a", null]`, `null "a" "a"`},
		{"SELECT count(*) FROM calls WHERE status = $status AND cost = $cost", `{"status": "completed", "cost": 0.25}`, "34"},
		{"SELECT typeof(?), typeof(?), typeof(?), typeof(?), typeof(?)", `[1, 1.50, 1e3, true, 12345678901234567890123]`,
			`"BIGINT" "DECIMAL(3,2)" "DOUBLE" "BOOLEAN" "DECIMAL(23,0)"`},
		{"SELECT ?", `[-0.050]`, "-0.050"},
		{"SELECT typeof($1), $1", `[["a", null]]`, `"VARCHAR[]" ["a",null]`},
		{"SELECT $1", `[[1, 2.5]]`, "[1,2.5]"},
		{"SELECT $x::JSON", `{"x": {"a": [1]}}`, `{"a":[1]}`},
		{"SELECT count(*) FROM calls WHERE list_contains($1, status)", `[["failed", "busy"]]`, "100"},
		{"SELECT count(*) FROM calls WHERE created_at >= $1", `["2026-03-01T00:00:00Z"]`, "100"},
		{"SELECT count(*) FROM calls WHERE id = $1", `["00000000-0000-4000-8000-000000000007"]`, "1"},
		{"SELECT ?", `["'; DROP TABLE calls; --"]`, `"'; DROP TABLE calls; --"`},
	} {
		if got := mustQuery(t, r, c.sql, c.params).text(); got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.sql, c.params, got, c.want)
		}
	}
	for _, c := range []struct{ sql, params string }{{"SELECT ?", ""}, {"SELECT ?", `[1, 2]`}, {"SELECT $a", `{"b": 1}`},
		{"SELECT 1", `[1]`}, {"SELECT $1", `"x"`}} {
		_, _, err := runQuery(t.Context(), r, Request{SQL: c.sql, Params: json.RawMessage(c.params)})
		if !errors.Is(err, ErrSQL) {
			t.Errorf("%s %s: got %v, want ErrSQL", c.sql, c.params, err)
		}
	}
}

const everyType = `SELECT true, 1::TINYINT, 9007199254740991, 9007199254740992, 18446744073709551615::UBIGINT, sum(1),
  170141183460469231731687303715884105727::HUGEINT,
  1.5::FLOAT, 'nan'::DOUBLE, '-inf'::DOUBLE, 1e-7, 12.3400::DECIMAL(10,4), -0.05::DECIMAL(4,2),
  123456789012345678.12::DECIMAL(38,2),
  DATE '2026-01-02', TIME '10:00:00.5',
  TIMESTAMP '2026-01-02 03:04:05.123456', TIMESTAMPTZ '2026-01-02 03:04:05+01',
  TIMESTAMP_NS '2026-01-02 03:04:05.123456789',
  INTERVAL '14 months 3 days 04:05:06.5',
  'a"b\c' || chr(10) || chr(1) || 'é', 'ab'::BLOB, '00000000-0000-4000-8000-000000000007'::UUID, '{"a":  [1]}'::JSON,
  [1, NULL, 3], {'a': 1, 'b c': {'d': 'x'}}, MAP {'k': 1}, MAP {1: 'x'},
  'x'::ENUM('w', 'x'), union_value(num := 2), [1, 2]::INTEGER[2], NULL, 'infinity'::TIMESTAMP`

func TestQuery_ValuesAsJSON(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	const want = `true 1 9007199254740991 "9007199254740992" "18446744073709551615" 1 ` +
		`"170141183460469231731687303715884105727" ` +
		`1.5 "NaN" "-Infinity" 1e-07 12.3400 -0.05 "123456789012345678.12" "2026-01-02" "10:00:00.500" ` +
		`"2026-01-02T03:04:05.123456" "2026-01-02T02:04:05.000Z" "2026-01-02T03:04:05.123456789" ` +
		`"1 year 2 months 3 days 04:05:06.5" ` +
		`"a\"b\\c\n\u0001é" "YWI=" "00000000-0000-4000-8000-000000000007" {"a":[1]} [1,null,3] {"a":1,"b c":{"d":"x"}} ` +
		`{"k":1} [{"key":1,"value":"x"}] ` +
		`"x" 2 [1,2] null "infinity"`
	a := mustQuery(t, r, everyType)
	if got := a.text(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestQuery_Formats(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	in := func(format, sql string) (string, Outcome) {
		text, outcome, err := runQuery(t.Context(), r, Request{SQL: sql, Format: format})
		if err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		return text, outcome
	}
	const few = `SELECT 1 AS a, 'x,"' AS a, '' AS b, NULL AS c, [1] AS d UNION ALL SELECT 2, 'y', 'z', 3, []`
	if got, _ := in(CSV, few); got != "a,a,b,c,d\n1,\"x,\"\"\",\"\",,[1]\n2,y,z,3,[]\n" {
		t.Errorf("%q", got)
	}
	const lines = `{"a":1,"a_1":"x,\"","b":"","c":null,"d":[1]}` + "\n" + `{"a":2,"a_1":"y","b":"z","c":3,"d":[]}` + "\n"
	if got, _ := in(NDJSON, few); got != lines {
		t.Errorf("%q", got)
	}
	if got, outcome := in(NDJSON, "SELECT 1 WHERE false"); got != "" || outcome.Rows != 0 {
		t.Errorf("%q %v", got, outcome)
	}
	got, _ := in(JSONColumns, few)
	var a jsonResult
	querytest.NoError(t, json.Unmarshal([]byte(got), &a))
	if fmt.Sprintf("%s", a.Values) != `[[1 2] ["x,\"" "y"] ["" "z"] [null 3] [[1] []]]` || a.RowCount != 2 {
		t.Errorf("%s", got)
	}
	// As a DECIMAL, a HUGEINT has at most 38 digits.
	decimals := strings.ReplaceAll(everyType, "170141183460469231731687303715884105727",
		"17014118346046923173168730371588410572")
	for _, sql := range []string{decimals, "SELECT range AS n, 'text ' || range AS t, " +
		"range % 7 = 0 AS b FROM range(100000)", "SELECT * FROM calls", "SELECT 1 AS x WHERE false"} {
		want, _ := in(JSON, "SELECT count(*) FROM ("+strings.ReplaceAll(sql, "sum(1)", "1")+")")
		querytest.NoError(t, json.Unmarshal([]byte(want), &a))
		text, outcome := in(Arrow, sql)
		reader, err := ipc.NewReader(strings.NewReader(text))
		querytest.NoError(t, err)
		rows := int64(0)
		for reader.Next() {
			rows += reader.RecordBatch().NumRows()
		}
		querytest.NoError(t, reader.Err())
		reader.Release()
		if fmt.Sprint(rows) != a.text() || outcome.Rows != rows {
			t.Errorf("Arrow: got %d rows and outcome %+v, want %s rows", rows, outcome, a.text())
		}
		text, outcome = in(Parquet, sql)
		file, err := parquet.OpenFile(strings.NewReader(text), int64(len(text)))
		querytest.NoError(t, err)
		count, _ := file.Lookup("voicory.rows")
		if file.NumRows() != rows || outcome.Rows != rows || count != a.text() {
			t.Errorf("Parquet: got %d rows and outcome %+v, want %d rows", file.NumRows(), outcome, rows)
		}
	}
	text, _ := in(Parquet, "SELECT 7 AS z, 'x' AS b, 1.50::DECIMAL(10,2) AS a, {'k': 'v'} AS s, "+
		"'it''s'::ENUM('it''s') AS e, NULL::INTEGER AS n")
	rows, err := parquet.Read[struct {
		Z int32  `parquet:"z"`
		B string `parquet:"b"`
		A int64  `parquet:"a,decimal(2:10)"`
		S struct {
			K string `parquet:"k"`
		} `parquet:"s"`
		E string `parquet:"e"`
		N *int32 `parquet:"n,optional"`
	}](strings.NewReader(text), int64(len(text)))
	querytest.NoError(t, err)
	if fmt.Sprint(rows) != `[{7 x 150 {v} it's <nil>}]` {
		t.Errorf("got %v", rows)
	}
}

// The rows of an Arrow result are complete and unique, and have the order that the statement requires. They stop at a
// limit and at the first error.
func TestQuery_ArrowRowsAreCompleteAndUnique(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	const all, many = "SELECT duration_seconds * 5000::BIGINT + range AS n, customer_number FROM calls, " +
		"range(5000)", 1_000_000
	for _, limit := range []int64{0, 123_456} {
		text, outcome, err := runQuery(t.Context(), r, Request{SQL: all, Format: Arrow, Limit: limit})
		querytest.NoError(t, err)
		want, truncated := int64(many), ""
		if limit > 0 {
			want, truncated = limit, "rows"
		}
		seen := map[int64]bool{}
		for _, n := range querytest.ArrowNumbers(t, text) {
			if n < 0 || n >= many || seen[n] {
				t.Fatalf("got %d, which is out of range or a duplicate", n)
			}
			seen[n] = true
		}
		if int64(len(seen)) != want || outcome != (Outcome{Rows: want, Truncated: truncated}) {
			t.Errorf("got %d rows and outcome %+v, want %d rows", len(seen), outcome, want)
		}
	}
	ordered, _, err := runQuery(t.Context(), r, Request{SQL: all + " ORDER BY n DESC", Format: Arrow})
	querytest.NoError(t, err)
	for i, n := range querytest.ArrowNumbers(t, ordered) {
		if n != int64(many-1-i) {
			t.Fatalf("row %d: got %d, want %d", i, n, many-1-i)
		}
	}
	_, _, err = runQuery(t.Context(), r, Request{SQL: "SELECT CASE WHEN n = 999999 THEN error('too late') ELSE n END " +
		"FROM (" + all + ")", Format: Arrow})
	if !errors.Is(err, ErrSQL) {
		t.Errorf("an error in the last row: got %v, want ErrSQL", err)
	}
}

func TestRequest_Limits(t *testing.T) {
	r := newRunner(t, sharedLake(t), func(o *Options) { o.MaxBytes = 100_000 })
	for _, c := range []struct {
		sql, format string
		limit       int64
		want        string
	}{
		{"FROM range(10)", JSON, 10, "{10 }"},
		{"FROM range(10)", JSON, 9, "{9 rows}"},
		{"FROM range(5000)", JSON, 2048, "{2048 rows}"},
		{"FROM range(5000)", CSV, 0, "{5000 }"},
		{"FROM range(1000000000000)", CSV, 5000, "{5000 rows}"},
		{"FROM range(1000000000000)", Arrow, 5000, "{5000 rows}"},
		{"FROM range(50000)", JSON, 0, "{10000 rows}"},
		{"SELECT repeat('x', 1000) FROM range(5000)", JSON, 0, "{99 bytes}"},
		{"SELECT repeat('x', 1000) FROM range(5000)", NDJSON, 0, "{97 bytes}"},
		{"SELECT repeat('x', 1000) FROM range(5000)", JSONColumns, 0, "{99 bytes}"},
		{"SELECT repeat('x', 1000) FROM range(5000)", Arrow, 0, "{99 bytes}"},
		{"SELECT repeat('x', 1000) FROM range(5000)", Parquet, 0, "{96 bytes}"},
		{"SELECT repeat('x', 1000 + 1000000 * (range = 5)::INTEGER) FROM range(5000)", Arrow, 0, "{5 bytes}"},
		{"SELECT repeat('x', 1000 + 1000000 * (range = 5)::INTEGER) FROM range(5000)", Parquet, 0, "{5 bytes}"},
		{"SELECT repeat('x', 1000000) FROM range(1)", Arrow, 0, "{0 bytes}"},
		{"SELECT repeat('x', 1000000) FROM range(1)", Parquet, 0, "{0 bytes}"},
	} {
		if _, outcome, err := runQuery(t.Context(), r, Request{SQL: c.sql, Format: c.format, Limit: c.limit}); err != nil ||
			fmt.Sprint(outcome) != c.want {
			t.Errorf("%s as %s: got %v, want %s (%v)", c.sql, c.format, outcome, c.want, err)
		}
	}
	// The smaller one of the request's and the runner's limit applies.
	for most, want := range map[int64]string{5_000: "{4 bytes}", 50_000: "{48 bytes}", 1_000_000: "{97 bytes}"} {
		request := Request{SQL: "SELECT repeat('x', 1000) FROM range(5000)", Format: NDJSON, MaxBytes: most}
		if _, outcome, err := runQuery(t.Context(), r, request); err != nil || fmt.Sprint(outcome) != want {
			t.Errorf("at most %d bytes: got %v, want %s (%v)", most, outcome, want, err)
		}
	}
	if _, _, err := runQuery(t.Context(), r, Request{SQL: "FROM range(1000000000000) WHERE range % 7 = 8",
		Timeout: 50 * time.Millisecond}); !errors.Is(err, ErrTimeout) || err.Error() != "The query took longer than 50ms" {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	for _, request := range []Request{{SQL: "SELECT 1", Format: "xml"}, {SQL: "SELECT 1", Limit: -1},
		{SQL: "SELECT 1", Limit: MaxRows + 1}, {SQL: "SELECT 1", Timeout: time.Hour},
		{SQL: "SELECT 1", MaxBytes: -1}, {SQL: strings.Repeat(" ", MaxStatement+1)}} {
		if _, _, err := runQuery(t.Context(), r, request); !errors.Is(err, ErrRequest) {
			t.Errorf("%.100s: got %v, want ErrRequest", request.SQL, err)
		}
	}
}

func TestFailure_HasPosition(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	for _, c := range []struct {
		sql          string
		line, column int
		message      string
	}{
		{"SELEC 1", 1, 1, `Parser Error: syntax error at or near "SELEC"`},
		{"SELECT\n  'é', nope\nFROM calls", 2, 8, `Binder Error: Referenced column "nope" not found`},
		{"SELECT * FROM nothing", 1, 15, `table "nothing" is not available in queries: the tables are calls, customers, ` +
			`messages, transcript_turns, cost_daily`},
		{"SELECT 1,\n  upper(getenv('PATH'))", 2, 9, `function "getenv" is not available in queries`},
		{"SELECT 'x'::INTEGER", 1, 11, "Conversion Error: Could not convert string 'x' to INT32"},
		{"SELECT\n  'é', (direction || 'x')::INTEGER\nFROM (FROM calls LIMIT 1)", 2, 26,
			"Conversion Error: Could not convert string 'inboundx' to INT32"},
		{"SELECT error('mine')", 0, 0, "Invalid Input Error: mine"},
		{"", 0, 0, "The text has no statement"},
		{"SELECT 1; SELECT 2", 0, 0, "The text has more than one statement"},
		{"PRAGMA database_list", 0, 0, "Only statements that read are run"},
	} {
		for _, format := range []string{JSON, Arrow} {
			_, _, err := runQuery(t.Context(), r, Request{SQL: c.sql, Format: format})
			failure := (*Failure)(nil)
			if !errors.As(err, &failure) || !errors.Is(failure, ErrSQL) || failure.Line != c.line ||
				failure.Column != c.column || !strings.HasPrefix(failure.Message, c.message) {
				t.Errorf("%s as %s: got %+v, want %+v", c.sql, format, failure, c)
			}
		}
	}
}
