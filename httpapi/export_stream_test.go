package httpapi_test

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// stream reads an export as one answer and holds it to the document.
func (b *bulk) stream(t *testing.T, target string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+"/api/v1/exports/"+target, nil)
	noError(t, err)
	request.Header.Set("X-Api-Key", b.secret)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.Client().Do(request)
	noError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	body = decoded(t, response.Header.Get("Content-Encoding"), body)
	openapitest.Check(t, request, response, body)
	return answer{response.StatusCode, response.Header, string(body)}
}

// objects are the rows of NDJSON by their id.
func objects(t *testing.T, lines string) map[string]map[string]any {
	t.Helper()
	rows := map[string]map[string]any{}
	decoder := json.NewDecoder(strings.NewReader(lines))
	for decoder.More() {
		var row map[string]any
		noError(t, decoder.Decode(&row))
		if rows[row["id"].(string)] != nil {
			t.Errorf("%s comes twice", row["id"])
		}
		rows[row["id"].(string)] = row
	}
	return rows
}

// The stream has the rows of all pages, and says of them what the pages say.
func TestStreams_HaveTheRowsOfPages(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for _, test := range []struct {
		dataset, filter string
		rows            int
		other           []string // columns that exports have in their own form
	}{
		{"calls", "", 60, []string{"duration", "duration_seconds", "transcript"}},
		{"calls", "status=no_answer&from=2026-02-10&to=2026-03-01", 10, []string{"duration_seconds", "transcript"}},
		{"calls", "phone_number=%2B4930%205&direction=outbound", 1, []string{"duration_seconds"}},
		{"customers", "", 2, nil},
		{"customers", "search=rao&source=website", 1, nil},
		{"messages", "", 2, nil},
		{"messages", "customer_id=" + id(11), 1, nil},
	} {
		got := objects(t, b.stream(t, test.dataset+"?format=ndjson&"+test.filter).body)
		if len(got) != test.rows {
			t.Errorf("%s?%s has %d rows", test.dataset, test.filter, len(got))
		}
		path, seen := "/api/v1/"+test.dataset+"?limit=7&"+test.filter, 0
		for path != "" {
			var page struct {
				Data []map[string]any
				Meta struct {
					Cursor string `json:"next_cursor"`
				}
			}
			noError(t, json.Unmarshal([]byte(b.ask(t, "GET", path, b.secret).body), &page))
			for _, row := range page.Data {
				for name, value := range row {
					if want, have := fmt.Sprint(value), fmt.Sprint(got[row["id"].(string)][name]); want != have &&
						!strings.Contains(fmt.Sprint(test.other), name) {
						t.Errorf("%s of %s is %s, not %s", name, row["id"], have, want)
					}
				}
				seen++
			}
			if path = ""; page.Meta.Cursor != "" {
				path = "/api/v1/" + test.dataset + "?limit=7&" + test.filter + "&cursor=" + page.Meta.Cursor
			}
		}
		if seen != test.rows {
			t.Errorf("%s?%s: the pages have %d rows", test.dataset, test.filter, seen)
		}
	}
}

// counts count the rows of a body, by its media type; one that is not whole is an error.
var counts = map[string]func(body string) (int, error){
	"application/vnd.apache.parquet": func(body string) (int, error) {
		file, err := parquet.OpenFile(strings.NewReader(body), int64(len(body)))
		if err != nil {
			return 0, err
		}
		return int(file.NumRows()), nil
	},
	"application/vnd.apache.arrow.stream": func(body string) (int, error) {
		rows, err := arrowtest.CheckStream(strings.NewReader(body))
		return int(rows), err
	},
	"text/csv": func(body string) (int, error) {
		rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		return len(rows) - 1, err
	},
	"application/x-ndjson": func(body string) (int, error) { return strings.Count(body, "\n"), nil },
}

func TestStreams_Formats(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for _, test := range []struct{ target, accept, encoding, kind string }{
		{"calls", "", "", "application/x-ndjson"},
		{"calls", "*/*", "zstd", "application/x-ndjson"},
		{"calls", "text/html, */*;q=0.8", "gzip", "application/x-ndjson"},
		{"calls", "text/*", "", "text/csv"},
		{"calls", "text/csv;q=0.5, application/vnd.apache.parquet", "gzip, zstd", "application/vnd.apache.parquet"},
		{"calls", "application/vnd.apache.arrow.stream, application/problem+json", "gzip",
			"application/vnd.apache.arrow.stream"},
		{"calls", "application/x-ndjson;q=0, */*;q=0.1", "", "text/csv"},
		{"calls?format=csv", "application/vnd.apache.parquet", "gzip", "text/csv"},
		{"calls?format=parquet&columns=id,cost", "", "", "application/vnd.apache.parquet"},
		{"calls?format=arrow&from=2026-03-01&to=2026-03-31", "text/html", "", "application/vnd.apache.arrow.stream"},
	} {
		got := b.stream(t, test.target, "Accept", test.accept, "Accept-Encoding", test.encoding)
		kind, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
		if got.status != 200 || kind != test.kind {
			t.Errorf("%+v: %d %s", test, got.status, kind)
			continue
		}
		want := 60
		if strings.Contains(test.target, "from=") {
			want = 29
		}
		if rows, err := counts[kind](got.body); err != nil || rows != want {
			t.Errorf("%+v: %d rows, %v", test, rows, err)
		}
		compressed := test.encoding != "" && (kind == "text/csv" || kind == "application/x-ndjson")
		if (got.header.Get("Content-Encoding") != "") != compressed {
			t.Errorf("%+v: Content-Encoding is %q", test, got.header.Get("Content-Encoding"))
		}
		at, err := time.Parse(time.RFC3339, got.header.Get("X-As-Of"))
		name := "calls_"
		if strings.Contains(test.target, "from=") {
			name = "calls_from-2026-03-01_to-2026-03-31_"
		}
		if disposition := got.header.Get("Content-Disposition"); err != nil ||
			!strings.HasPrefix(disposition, `attachment; filename="`+name+at.Format("20060102T150405Z")+".") {
			t.Errorf("%+v: %s", test, disposition)
		}
	}
	if got := b.stream(t, "customers?format=csv&columns=name,phone_number&bom=true&escape_formulas=true&search=jonas"); got.body != "\ufeffname,phone_number\nJonas Weiß,'+4930111\n" {
		t.Errorf("%q", got.body)
	}
	if got := b.stream(t, "messages?format=ndjson&from=2030-01-01", "Accept-Encoding", "zstd"); got.status != 200 ||
		got.body != "" {
		t.Error(got)
	}
}

func TestStreams_InvalidRequests(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for target, want := range map[string]string{
		"nothing":                     "404 NOT_FOUND",
		"calls?format=xlsx":           "400 INVALID_FILTER",
		"calls?columns=id,_seq":       "400 INVALID_FILTER",
		"calls?columns=id,id":         "400 INVALID_FILTER",
		"calls?from=yesterday":        "400 INVALID_FILTER",
		"cost_daily?assistant_id=1":   "400 INVALID_FILTER",
		"calls?bom=maybe":             "400 INVALID_FILTER",
		"messages?customer_id=nobody": "400 INVALID_FILTER",
	} {
		got := b.ask(t, "GET", "/api/v1/exports/"+target, b.secret)
		if code := strings.Split(want, " "); fmt.Sprint(got.status) != code[0] || !strings.Contains(got.body, code[1]) ||
			got.header.Get("X-As-Of") != "" {
			t.Errorf("%s: %v", target, got)
		}
	}
	if got := b.ask(t, "GET", "/api/v1/exports/calls", b.secret, "Accept", "application/json"); got.status != 406 ||
		!strings.Contains(got.body, "NOT_ACCEPTABLE") {
		t.Error(got)
	}
	if got := b.ask(t, "GET", "/api/v1/exports/calls", b.key); got.status != 403 {
		t.Error(got)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodHead, b.URL+"/api/v1/exports/calls?format=parquet",
		nil)
	noError(t, err)
	request.Header.Set("X-Api-Key", b.secret)
	response, err := b.Client().Do(request)
	noError(t, err)
	noError(t, response.Body.Close())
	openapitest.Check(t, request, response, nil)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/vnd.apache.parquet" {
		t.Error(response)
	}
}

// filled is a number of calls whose streams and files do not fit into the buffers of smallBuffers.
const filled = 600

// fill merges calls of June with 4 KB each that do not compress.
func (b *bulk) fill(t *testing.T, calls int) {
	t.Helper()
	rows := make([]string, calls)
	for n := range rows {
		rows[n] = fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-06-01","summary":%q}`, mine, id(5000+n), noise(n))
	}
	merge(t, b.warehouse, schema.Calls, rows...)
}

// Characters at which some readers end a line are escaped in NDJSON, so that each line is a row for every reader.
func TestStreams_NDJSONEscapesLineEnds(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	const summary = "a\u0085b\u2028c\u2029d\r\ne"
	merge(t, b.warehouse, schema.Calls,
		fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-07-01","summary":"a\u0085b\u2028c\u2029d\r\ne"}`, mine,
			id(7000)))
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet,
		"/api/v1/exports/calls?from=2026-07-01&columns=summary", nil)
	request.Header.Set("X-Api-Key", b.secret)
	answer := httptest.NewRecorder()
	b.Config.Handler.ServeHTTP(answer, request)
	got := answer.Body.String()
	if want := `{"summary":"a\u0085b\u2028c\u2029d\r\ne"}` + "\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var row struct{ Summary string }
	if err := json.Unmarshal([]byte(got), &row); err != nil || row.Summary != summary {
		t.Errorf("got %q and %v, want %q", row.Summary, err, summary)
	}
}

// watched returns a handler that sends the cause of the end of each response: nil, or the value of its panic.
func watched(handler http.Handler) (_ http.Handler, ended chan any) {
	ended = make(chan any, 8)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			ended <- cause
			if cause != nil {
				panic(cause)
			}
		}()
		handler.ServeHTTP(w, r)
	}), ended
}

// A stream outlives what the server allows for reading a request, ends where its key does, and leaves its place when it
// ends.
func TestStreams_OutliveReadTimeoutAndEndWithTheirKey(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	b.fill(t, filled)
	handler, ended := watched(b.Config.Handler)
	server := smallBuffers(httptest.NewUnstartedServer(handler))
	const readTimeout = time.Second // a request arrives in this time on a busy machine
	server.Config.ReadTimeout = readTimeout
	server.Start()
	defer server.Close()
	begin := func(format string) net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		noError(t, err)
		_, err = fmt.Fprintf(conn, "GET /api/v1/exports/calls?format=%s HTTP/1.1\r\nHost: x\r\nX-Api-Key: "+
			"%s\r\nConnection: close\r\n\r\n", format, b.secret)
		noError(t, err)
		head := make([]byte, 15)
		_, err = io.ReadFull(conn, head)
		noError(t, err)
		if string(head) != "HTTP/1.1 200 OK" {
			t.Fatalf("%s", head)
		}
		return conn
	}
	for _, format := range []string{"parquet", "arrow", "csv", "ndjson"} {
		first := begin(format)
		<-time.After(readTimeout * 11 / 10) // it must pass
		second := begin(format)
		if format == "parquet" { // the third stream waits for its slot for some seconds
			if got := b.ask(t, "GET", "/api/v1/exports/calls", b.secret); got.status != 429 ||
				got.header.Get("Retry-After") == "" {
				t.Errorf("a third stream: %d", got.status)
			}
		}
		all, err := io.ReadAll(first)
		noError(t, err)
		if !bytes.HasSuffix(all, []byte("\r\n0\r\n\r\n")) {
			t.Errorf("%s did not end well, after %d bytes", format, len(all))
		}
		noError(t, first.Close())
		if cause := <-ended; cause != nil {
			t.Errorf("%s ended with %v", format, cause)
		}
		noError(t, second.Close()) // the client leaves
		if cause, _ := (<-ended).(error); !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("%s, whose client left, ended with %v", format, cause)
		}
	}
	last := begin("csv")
	defer last.Close()
	_, err := b.warehouse.RevokeKey(t.Context(), b.id)
	noError(t, err)
	if cause, _ := (<-ended).(error); !errors.Is(cause, http.ErrAbortHandler) {
		t.Errorf("a stream whose key was revoked ended with %v", cause)
	}
	if all, _ := io.ReadAll(last); bytes.HasSuffix(all, []byte("\r\n0\r\n\r\n")) {
		t.Error("a stream whose key was revoked ended well")
	}
}

// A failure before the first byte is an error response; a later one aborts the response.
func TestStreams_FailureBeforeAndAfterTheFirstByte(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	closed := httptest.NewServer(httpapi.New(httpapi.Options{Store: failing{b.warehouse},
		Log: slog.New(slog.DiscardHandler)}))
	defer closed.Close()
	b.URL = closed.URL
	if got := b.ask(t, "GET", "/api/v1/exports/calls", b.secret); got.status != 503 ||
		!strings.Contains(got.body, "SERVER_BUSY") {
		t.Error(got)
	}
}

// failing has no memory left to read with.
type failing struct{ *warehouse.Warehouse }

func (failing) Snapshot(context.Context, uuid.UUID) (*warehouse.Snapshot, error) {
	return nil, fmt.Errorf("%w: 381 of 381 MiB", warehouse.ErrNoMemory)
}
