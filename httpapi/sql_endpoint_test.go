package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/warehouse/control"
)

// startSQL is a bulk server that runs SQL; tune may change how.
func startSQL(t *testing.T, tune ...func(*query.Options)) *bulk {
	t.Helper()
	return startSQLSlots(t, nil, tune...)
}

// startSQLSlots is startSQL with slots; nil: the default.
func startSQLSlots(t *testing.T, slots httpapi.Slots, tune ...func(*query.Options)) *bulk {
	t.Helper()
	return startBulk(t, func(o *httpapi.Options) {
		o.Slots = slots
		program, err := os.Executable()
		noError(t, err)
		options := query.Options{Files: o.Store.(query.Files), Command: []string{program, query.WorkerArgument}}
		for _, change := range tune {
			change(&options)
		}
		o.Queries, err = query.New(options)
		noError(t, err)
	})
}

// post sends a query and returns the answer while it comes.
func (b *bulk) post(ctx context.Context, t *testing.T, key, body string, headers ...string) (*http.Request,
	*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.URL+"/api/v1/query", strings.NewReader(body))
	noError(t, err)
	request.Header.Set("X-Api-Key", key)
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.Client().Do(request)
	return request, response, err
}

// sql runs a query and holds its answer to the document. Trailers are among the answer's headers.
func (b *bulk) sql(t *testing.T, key, body string, headers ...string) answer {
	t.Helper()
	request, response, err := b.post(t.Context(), t, key, body, headers...)
	noError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	noError(t, err)
	text = decoded(t, response.Header.Get("Content-Encoding"), text)
	if response.Header.Get("Content-Type") != "application/x-ndjson; charset=utf-8" { // the validator takes it for JSON
		openapitest.Check(t, request, response, text)
	}
	for name, values := range response.Trailer {
		response.Header[name] = values
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// code is the one that an error names.
func code(body string) string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal([]byte(body), &e)
	return e.Error.Code
}

// until waits until the condition holds, for at most 5 minutes.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	poll := time.NewTicker(time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !holds(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not hold within 5 minutes")
		}
	}
}

func TestQuery_Formats(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	got := b.sql(t, b.secret, `{"sql": "SELECT status, count(*) AS n FROM calls WHERE status LIKE $1 GROUP BY ALL ORDER BY ALL", "params": ["%-%"]}`)
	var result struct {
		Columns []map[string]string
		Rows    [][]any
		AsOf    *string `json:"as_of"`
		QueryID string  `json:"query_id"`
	}
	noError(t, json.Unmarshal([]byte(got.body), &result))
	if got.status != 200 || fmt.Sprint(result.Rows) != "[[no-answer 29] [on_hold-line 1]]" ||
		fmt.Sprint(result.Columns) != "[map[name:status type:VARCHAR] map[name:n type:BIGINT]]" ||
		result.AsOf == nil || got.header.Get("X-As-Of") == "" || result.QueryID != got.header.Get("X-Query-Id") ||
		got.header.Get("X-Row-Count") != "2" || got.header.Get("X-Truncated") != "no" {
		t.Error(got)
	}
	if got := b.sql(t, b.another,
		`{"sql": "SELECT count(*) FROM calls", "format": "csv"}`); got.body != "count_star()\n1\n" {
		t.Error("the other tenant sees", got)
	}
	// A long result has its row count in trailers.
	got = b.sql(t, b.secret, `{"sql": "SELECT range, repeat('x', 100) FROM range(20000)", "format": "arrow", "limit": 15000}`)
	reader, err := ipc.NewReader(strings.NewReader(got.body))
	noError(t, err)
	rows := int64(0)
	for reader.Next() {
		rows += reader.RecordBatch().NumRows()
	}
	reader.Release()
	if rows != 15000 || got.header.Get("X-Row-Count") != "15000" || got.header.Get("X-Truncated") != "rows" {
		t.Error(rows, got.header)
	}
	for _, format := range query.Formats {
		if got := b.sql(t, b.secret, fmt.Sprintf(`{"sql": "FROM customers", "format": %q}`, format)); got.status != 200 ||
			got.header.Get("X-Row-Count") != "2" {
			t.Error(format, got)
		}
	}
}

func TestQuery_InvalidRequests(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	for _, c := range []struct {
		key, body string
		status    int
		code      string
	}{
		{b.key, `{"sql": "SELECT 1"}`, 403, "SECRET_KEY_REQUIRED"},
		{b.secret, `{"sql": "SELECT 1", "more": 1}`, 400, "INVALID_QUERY"},
		{b.secret, `{}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "SELECT 1"} {}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "SELECT 1", "limit": 0}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "SELECT 1", "timeout_ms": 86400000}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "SELECT 1", "format": "xml"}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "` + strings.Repeat("x", 1<<20+1) + `"}`, 400, "INVALID_QUERY"},
		{b.secret, `{"sql": "` + strings.Repeat("x", 5<<20) + `"}`, 413, "PAYLOAD_TOO_LARGE"},
		{b.secret, `{"sql": "DROP VIEW calls"}`, 400, "INVALID_SQL"},
		{b.secret, `{"sql": "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3", "timeout_ms": 300}`, 504,
			"QUERY_TIMEOUT"},
		{b.secret, `{"sql": "SELECT list(range) FROM range(1000000000)"}`, 422, "QUERY_OUT_OF_MEMORY"},
	} {
		if got := b.sql(t, c.key, c.body); got.status != c.status || code(got.body) != c.code {
			t.Errorf("%.80s: %d %.300s", c.body, got.status, got.body)
		}
	}
	got := b.sql(t, b.secret, `{"sql": "SELECT 1,\n  nope FROM calls"}`)
	if !strings.Contains(got.body, `"line":2,"column":3`) || !strings.Contains(got.body,
		`Binder Error: Referenced column \"nope\" not found`) {
		t.Error(got.body)
	}
	if got := b.sql(t, b.secret, `{"sql": "SELECT 1"}`, "Content-Type", "text/plain"); got.status != 415 {
		t.Error(got)
	}
	none := startSQL(t, func(o *query.Options) { o.SandboxSupported = func() error { return query.ErrUnavailable } })
	if got := none.sql(t, none.secret, `{"sql": "SELECT 1"}`); got.status != 501 || code(got.body) != "SQL_UNAVAILABLE" {
		t.Error(got)
	}
}

// A key's own limits cap what it asks for, from the next request after they were given, and bind no other key of its
// tenant.
func TestQuery_LimitsOfAKey(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	bound, key, err := b.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	limit := func(settings control.KeySettings) {
		t.Helper()
		_, err := b.warehouse.UpdateKey(t.Context(), bound.ID, settings)
		noError(t, err)
	}
	check := func(key, body, rows, truncated string) {
		t.Helper()
		got := b.sql(t, key, body)
		if got.status != 200 || got.header.Get("X-Row-Count") != rows || got.header.Get("X-Truncated") != truncated {
			t.Errorf("%s: %d %v %.200s", body, got.status, got.header, got.body)
		}
	}
	const lines, csv = `{"sql": "FROM range(20000)"}`,
		`{"sql": "SELECT repeat('x', 999) FROM range(1000)", "format": "csv"}`
	check(key, lines, "10000", "rows")
	limit(control.KeySettings{QueryRows: 100})
	check(key, lines, "100", "rows")
	check(key, `{"sql": "FROM range(20000)", "limit": 20000}`, "100", "rows")
	check(key, `{"sql": "FROM range(20000)", "limit": 20000, "format": "parquet"}`, "100", "rows")
	check(key, `{"sql": "FROM range(20000)", "limit": 7}`, "7", "rows")
	check(key, `{"sql": "FROM range(100)", "limit": 101}`, "100", "no")
	check(b.secret, lines, "10000", "rows")
	limit(control.KeySettings{QueryRows: 50_000})
	check(key, lines, "10000", "rows")

	limit(control.KeySettings{QueryBytes: 400_000}) // more than is buffered: the outcome is in trailers
	check(key, csv, "399", "bytes")
	check(b.secret, csv, "1000", "no")
	for _, format := range query.Formats {
		got := b.sql(t, key, fmt.Sprintf(
			`{"sql": "SELECT md5(range::VARCHAR) || repeat('x', 999) FROM range(1000)", "format": %q}`, format))
		if got.status != 200 || len(got.body) > 400_000 || got.header.Get("X-Truncated") != "bytes" {
			t.Errorf("%s: got %d, %d bytes, cut off by %s", format, got.status, len(got.body), got.header.Get("X-Truncated"))
		}
	}
	limit(control.KeySettings{QueryBytes: 60})
	if got := b.sql(t, key, lines); got.status != 422 || code(got.body) != "RESULT_TOO_LARGE" ||
		!strings.Contains(got.body, "may have 60") {
		t.Error(got)
	}
	limit(control.KeySettings{})
	check(key, csv, "1000", "no")

	slow := strings.Replace(endless, "600000", "400", 1)
	limit(control.KeySettings{QueryTime: 200})
	for _, body := range []string{slow, endless,
		`{"sql": "SELECT count(*) FROM range(1000000000000) WHERE range % 7 = 3"}`} {
		if got := b.sql(t, key, body); got.status != 504 || code(got.body) != "QUERY_TIMEOUT" ||
			!strings.Contains(got.body, "longer than 200ms, which is the maximum for queries of this key") {
			t.Error(got)
		}
	}
	if got := b.sql(t, b.secret, slow); got.status != 504 || !strings.Contains(got.body, `longer than 400ms"`) {
		t.Error(got)
	}
	limit(control.KeySettings{QueryRows: 10, QueryTime: 60_000})
	if got := b.sql(t, key, slow); got.status != 504 || !strings.Contains(got.body, `longer than 400ms"`) {
		t.Error(got)
	}
	// beyond the documented bounds
	for _, beyond := range []string{`{"sql": "SELECT 1", "limit": 10000001}`,
		`{"sql": "SELECT 1", "timeout_ms": 600001}`} {
		if got := b.sql(t, key, beyond); got.status != 400 || code(got.body) != "INVALID_QUERY" {
			t.Error(got)
		}
	}
}

// endless is a query that goes on until it is ended.
const endless = `{"sql": "SELECT count(*) FROM range(1000000000000) a WHERE range % 7 = 3", "timeout_ms": 600000}`

func TestQuery_Cancel(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	answers := make(chan answer, 1)
	go func() { answers <- b.sql(t, b.secret, endless, "X-Query-Id", "mine-1") }()
	until(t, func() bool {
		if got := b.ask(t, "DELETE", "/api/v1/query/mine-1", b.another); got.status != 404 {
			t.Error("another tenant may cancel it", got)
		}
		return b.ask(t, "DELETE", "/api/v1/query/mine-1", b.secret).status == 204
	})
	if got := <-answers; got.status != 409 || code(got.body) != "QUERY_CANCELLED" {
		t.Error(got)
	}
	if got := b.ask(t, "DELETE", "/api/v1/query/mine-1", b.secret); got.status != 404 {
		t.Error(got)
	}
	// A client that leaves ends its query; so does a key that is revoked, and its answer.
	running := func() bool { return b.sql(t, b.secret, `{"sql": "SELECT 1"}`, "X-Query-Id", "mine-2").status == 409 }
	start := func(ctx context.Context) (status int) {
		for status = 409; status == 409; { // where running asks with its id just now
			_, response, err := b.post(ctx, t, b.secret, endless, "X-Query-Id", "mine-2")
			if err != nil {
				return 0
			}
			status = response.StatusCode
			response.Body.Close()
		}
		return status
	}
	ctx, leave := context.WithCancel(t.Context())
	statuses := make(chan int, 1)
	go func() { statuses <- start(ctx) }()
	until(t, running)
	leave()
	<-statuses
	until(t, func() bool { return !running() })
	go func() { statuses <- start(t.Context()) }()
	until(t, running)
	_, err := b.warehouse.RevokeKey(t.Context(), b.id)
	noError(t, err)
	if status := <-statuses; status != 401 {
		t.Error(status)
	}
}

// A key runs a bounded number of queries at a time; further ones wait for a bounded time.
func TestQuery_ConcurrencyOfAKey(t *testing.T) {
	t.Parallel()
	b := startSQLSlots(t, withSlots(httpapi.Queries, 4, 2, 1))
	answers := make(chan answer, 1)
	go func() {
		first := answer{status: 429}
		for first.status == 429 { // one of the queries below is running
			first = b.sql(t, b.secret, endless, "X-Query-Id", "first")
		}
		answers <- first
	}()
	var got answer
	until(t, func() bool { got = b.sql(t, b.secret, `{"sql": "SELECT 1"}`); return got.status != 200 })
	if got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Error(got)
	}
	if got := b.sql(t, b.another, `{"sql": "SELECT 1"}`); got.status != 200 {
		t.Error(got)
	}
	until(t, func() bool { return b.ask(t, "DELETE", "/api/v1/query/first", b.secret).status == 204 })
	<-answers
}

// While statements run that want everything, pages and rows are answered.
func TestQuery_HostileStatementsDoNotAffectOthers(t *testing.T) { // alone, because its statements use all cores
	bombs := []string{
		"SELECT sum(a.range * b.range * c.range) FROM range(1000000000) a, range(1000000) b, range(1000) c",
		"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t",
		"SELECT count(DISTINCT md5(a.range::VARCHAR || repeat('x', 1000))) FROM range(1000000000) a",
		"SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE regexp_matches(a.range::VARCHAR || " +
			"b.range::VARCHAR, '(1|2|3)*4.*x')",
	}
	b := startSQLSlots(t, withSlots(httpapi.Queries, 2*len(bombs), len(bombs), len(bombs)))
	bombing, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	for _, bomb := range bombs {
		body, err := json.Marshal(map[string]any{"sql": bomb, "timeout_ms": query.MaxTimeout.Milliseconds()})
		noError(t, err)
		group.Go(func() {
			for bombing.Err() == nil { // those that fill their memory end soon, and are sent again
				_, response, err := b.post(bombing, t, b.secret, string(body))
				if err != nil {
					continue
				}
				said, err := io.ReadAll(response.Body)
				response.Body.Close()
				if err == nil && code(string(said)) != "QUERY_OUT_OF_MEMORY" && code(string(said)) != "RATE_LIMIT_EXCEEDED" &&
					code(string(said)) != "SERVER_BUSY" {
					t.Errorf("%s: %d %s", bomb, response.StatusCode, said)
				}
			}
		})
	}
	until(t, func() bool { return b.sql(t, b.secret, `{"sql": "SELECT 1"}`).status != 200 }) // all of them run
	for range 3 {
		for _, path := range []string{"/api/v1/calls/00000000-0000-4000-8000-000000000001", "/api/v1/calls?limit=5",
			"/api/v1/analytics/calls"} {
			if got := b.ask(t, "GET", path, b.secret); got.status != 200 {
				t.Fatal(path, got.status, got.body)
			}
		}
	}
	stop()
	group.Wait()
	until(t, func() bool { return b.sql(t, b.secret, `{"sql": "SELECT 1"}`).status == 200 })
}

// A query that fails after a part of its result was sent is aborted. A part is sent long before the 40 MB of text that
// precede the failure have been made: a worker that held as much back would be full where texts are longer.
func TestQuery_FailureMidwayAborts(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	_, response, err := b.post(t.Context(), t, b.secret,
		`{"sql": "SELECT range, CASE WHEN range = 20000 THEN error('late') ELSE repeat('x', 2000 + range % 9) END FROM range(30000)", "format": "csv"}`)
	noError(t, err)
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || err == nil || len(body) == 0 {
		t.Error(response.StatusCode, len(body), err)
	}
}
