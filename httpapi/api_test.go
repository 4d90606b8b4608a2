package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Helpers of package warehousetest.
var (
	noError = warehousetest.NoError
	lines   = warehousetest.Lines[string]
	merge   = warehousetest.MergeNew
)

// TestMain runs the worker of a query if the test binary is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == query.WorkerArgument {
		os.Exit(query.Work())
	}
	goleak.VerifyTestMain(m)
}

var (
	mine   = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")
	theirs = uuid.MustParse("bbbbbbbb-0000-4000-8000-000000000002")
	nobody = uuid.MustParse("cccccccc-0000-4000-8000-000000000003")
)

func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// api is a server over a real warehouse, with a key for each tenant.
type api struct {
	*httptest.Server
	warehouse              *warehouse.Warehouse
	key, other, empty, old string
}

const (
	fullCall = `{"user_id":"aaaaaaaa-0000-4000-8000-000000000001","id":"00000000-0000-4000-8000-000000000001","call_sid":"CA1","direction":"inbound","status":"in_progress","from_number":"+91 98765 12345","to_number":"+918000000001","phone_number":null,"duration":"2m 18s","duration_seconds":0,"cost":0.0337,"summary":"नमस्ते \"x\"","transcript":[{"role":"user","message":"hi","timestamp_ms":1.50}],"recording_url":"https://recordings.example.com/1.mp3","provider":"twilio","started_at":"2026-03-01T10:00:00.123456Z","ended_at":null,"created_at":"2026-04-18T19:50:20.322Z","assistant_id":"11111111-0000-4000-8000-000000000001","metadata":{"cost_breakdown":{"stt":0.01}},"stt_minutes":2.3,"tts_characters":99}`
	customer = `{"user_id":"aaaaaaaa-0000-4000-8000-000000000001","id":"00000000-0000-4000-8000-000000000011","name":"Asha Rao","email":"","phone_number":"+91 98765 12345","source":"website","interaction_count":3,"last_interaction":null,"variables":{"a":[1]},"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-02T00:00:00Z"}`
	message  = `{"user_id":"aaaaaaaa-0000-4000-8000-000000000001","id":"00000000-0000-4000-8000-000000000021","direction":"outbound","content":{"text":{"body":"hi"}},"message_type":"text","from_number":"+918000000001","to_number":"919876512345","status":"read","is_from_bot":true,"delivered_at":null,"read_at":"2026-04-01T00:00:00Z","created_at":"2026-04-01T00:00:00Z","customer_id":"00000000-0000-4000-8000-000000000011","assistant_id":null,"wa_message_id":"wamid.1"}`
)

// A seed is the template of a data folder with keys, which cost more to create than to copy.
type seed struct {
	*warehousetest.Template
	key, other, empty, old, secret, another string    // see api and bulk; set when the template is made
	id                                      uuid.UUID // of the key secret
}

// newSeed returns a seed with the rows that fill merges.
func newSeed(fill func(testing.TB, *warehouse.Warehouse)) *seed {
	s := &seed{}
	s.Template = warehousetest.NewTemplate(func(t testing.TB, w *warehouse.Warehouse) {
		fill(t, w)
		create := func(tenant uuid.UUID, kind control.KeyType, text *string) uuid.UUID {
			var key control.Key
			var err error
			key, *text, err = w.CreateKey(t.Context(), tenant, kind, control.KeySettings{})
			noError(t, err)
			return key.ID
		}
		create(mine, control.Public, &s.key)
		create(theirs, control.Public, &s.other)
		create(nobody, control.Public, &s.empty)
		_, err := w.RevokeKey(t.Context(), create(mine, control.Secret, &s.old))
		noError(t, err)
		s.id = create(mine, control.Secret, &s.secret)
		create(theirs, control.Secret, &s.another)
	})
	return s
}

// rowsOfTwo and publishedOfTwo are data folders with two tenants' rows.
var (
	rowsOfTwo      = newSeed(mergeRowsOfTwo)
	publishedOfTwo = newSeed(func(t testing.TB, w *warehouse.Warehouse) {
		mergeRowsOfTwo(t, w)
		_, err := w.Publish(t.Context())
		noError(t, err)
	})
)

func mergeRowsOfTwo(t testing.TB, w *warehouse.Warehouse) {
	t.Helper()
	calls := []string{fullCall}
	for n := 2; n <= 60; n++ { // one a day, from 2026-02-02 on
		status := []string{"completed", "no-answer"}[n%2]
		if n == 60 {
			status = "on_hold-line"
		}
		calls = append(calls, fmt.Sprintf(
			`{"user_id":%q,"id":%q,"status":%q,"direction":"outbound","to_number":"+4930%d","created_at":"2026-%02d-%02dT12:00:00Z"}`, mine, id(n), status, n, 1+(n+28)/30, 1+(n+28)%30%28))
	}
	merge(t, w, schema.Calls, calls...)
	merge(t, w, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-01","summary":"secret of theirs"}`,
		theirs, id(900)))
	merge(t, w, schema.Customers, customer,
		fmt.Sprintf(`{"user_id":%q,"id":%q,"name":"Jonas Weiß","email":"JONAS@example.com","phone_number":"+4930111","created_at":"2026-01-05"}`, mine, id(12)))
	merge(t, w, schema.Messages, message,
		fmt.Sprintf(`{"user_id":%q,"id":%q,"direction":"inbound","content":{},"from_number":"+4930111","created_at":"2026-04-02"}`, mine, id(22)))
}

// start serves two tenants' rows; tune may change the options.
func start(t *testing.T, tune ...func(*httpapi.Options)) *api {
	t.Helper()
	return startOn(t, rowsOfTwo, tune...)
}

func startOn(t *testing.T, from *seed, tune ...func(*httpapi.Options)) *api {
	t.Helper()
	w := warehousetest.Open(t, from.Copy(t))
	t.Cleanup(func() { noError(t, w.Close()) })
	options := httpapi.Options{Store: w, CursorKey: w.SigningKey("cursor"), Log: slog.New(slog.DiscardHandler)}
	for _, change := range tune {
		change(&options)
	}
	a := &api{Server: httptest.NewServer(httpapi.New(options)), warehouse: w,
		key: from.key, other: from.other, empty: from.empty, old: from.old}
	t.Cleanup(a.Close)
	return a
}

// decoded undoes a content encoding.
func decoded(t *testing.T, encoding string, body []byte) []byte {
	t.Helper()
	if len(body) == 0 { // of a HEAD
		return body
	}
	var reader io.Reader = bytes.NewReader(body)
	var err error
	switch encoding {
	case "gzip":
		reader, err = gzip.NewReader(reader)
	case "zstd":
		reader, err = zstd.NewReader(reader, zstd.WithDecoderConcurrency(1))
	}
	noError(t, err)
	body, err = io.ReadAll(reader)
	noError(t, err)
	return body
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request, with headers as pairs of name and value. What every answer must have, and what none may hold, is
// looked for in each.
func (a *api) do(t *testing.T, method, path, key string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, nil)
	noError(t, err)
	if key != "" {
		request.Header.Set("x-api-key", key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := a.Client().Do(request)
	noError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	openapitest.Check(t, request, response, decoded(t, response.Header.Get("Content-Encoding"), body))
	for name, value := range map[string]string{ // on every answer
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "X-API-Version": "v1",
		"Cache-Control": "no-store, no-cache, must-revalidate, private",
	} {
		if got := response.Header.Get(name); got != value {
			t.Errorf("%s %s: %s is %q", method, path, name, got)
		}
	}
	if response.Header.Get("X-Request-Id") == "" {
		t.Errorf("%s %s has no request id", method, path)
	}
	hide := []string{"user_id", "config_id", "_hash", "_seq", "customer_number", os.TempDir(), a.key, a.other}
	if path != "/openapi.json" && path != "/docs" { // these tell of a file that is one
		hide = append(hide, "duckdb")
	}
	if key != a.other {
		hide = append(hide, "secret of theirs")
	}
	for _, hidden := range hide {
		if hidden != "" && strings.Contains(string(body), hidden) {
			t.Errorf("%s %s shows %s: %s", method, path, hidden, body)
		}
	}
	if contentType := response.Header.Get("Content-Type"); contentType != "application/json; charset=utf-8" &&
		len(body) > 0 && headers == nil && method != "OPTIONS" {
		t.Errorf("%s %s: the content is %s", method, path, contentType)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

var someCursor = regexp.MustCompile(`"next_cursor":"[\w-]{55}"`)

// One row per sentence of the contract that a single request can show.
func TestLists_FollowTheContract(t *testing.T) {
	t.Parallel()
	a := start(t)
	const (
		missing  = `{"error":{"code":"MISSING_API_KEY","message":"No x-api-key header provided"}}`
		unknown  = `{"error":{"code":"INVALID_API_KEY","message":"Invalid API key"}}`
		revoked  = `{"error":{"code":"REVOKED_API_KEY","message":"API key has been revoked"}}`
		notFound = `{"error":{"code":"NOT_FOUND","message":"Resource not found"}}`
	)
	for _, test := range []struct {
		name, method, path, key string
		status                  int
		body                    string // whole, unless it begins with …
	}{
		{"call in a list", "GET", "/api/v1/calls?limit=1", a.key, 200,
			`{"data":[{"id":"00000000-0000-4000-8000-000000000001","call_sid":"CA1","direction":"inbound","status":"in_progress","from_number":"+91 98765 12345","to_number":"+918000000001","phone_number":null,"duration":"2m 18s","duration_seconds":0,"cost":0.0337,"summary":"नमस्ते \"x\"","transcript":[{"role":"user","message":"hi","timestamp_ms":1.5}],"recording_url":"https://recordings.example.com/1.mp3","provider":"twilio","started_at":"2026-03-01T10:00:00.123Z","ended_at":null,"created_at":"2026-04-18T19:50:20.322Z","assistant_id":"11111111-0000-4000-8000-000000000001","metadata":{"cost_breakdown":{"stt":0.01}}}],"meta":{"page":1,"limit":1,"total":60,"total_pages":60,"has_more":true,"next_cursor":"…"}}`},
		{"call detail", "GET", "/api/v1/calls/" + id(1), a.key, 200,
			`…"metadata":{"cost_breakdown":{"stt":0.01}},"stt_minutes":2.3,"tts_characters":99}}`},
		{"customer in a list", "GET", "/api/v1/customers?search=asha", a.key, 200,
			`{"data":[{"id":"00000000-0000-4000-8000-000000000011","name":"Asha Rao","email":"","phone_number":"+91 98765 12345","source":"website","interaction_count":3,"last_interaction":null,"variables":{"a":[1]},"created_at":"2026-01-01T00:00:00.000Z","updated_at":"2026-01-02T00:00:00.000Z"}],"meta":{"page":1,"limit":25,"total":1,"total_pages":1,"has_more":false,"next_cursor":null}}`},
		{"customer detail", "GET", "/api/v1/customers/" + id(11), a.key, 200,
			`…"updated_at":"2026-01-02T00:00:00.000Z","recent_calls":[{"id":"00000000-0000-4000-8000-000000000001","direction":"inbound","status":"in_progress","duration":"2m 18s","cost":0.0337,"summary":"नमस्ते \"x\"","created_at":"2026-04-18T19:50:20.322Z"}],"recent_messages":[{"id":"00000000-0000-4000-8000-000000000021","direction":"outbound","content":{"text":{"body":"hi"}},"message_type":"text","status":"read","created_at":"2026-04-01T00:00:00.000Z"}]}}`},
		{"customer without activity", "GET", "/api/v1/customers/" + id(12), a.key, 200,
			`…"recent_calls":[],"recent_messages":[]}}`},
		{"message in a list", "GET", "/api/v1/messages?direction=outbound", a.key, 200,
			`{"data":[{"id":"00000000-0000-4000-8000-000000000021","direction":"outbound","content":{"text":{"body":"hi"}},"message_type":"text","from_number":"+918000000001","to_number":"919876512345","status":"read","is_from_bot":true,"delivered_at":null,"read_at":"2026-04-01T00:00:00.000Z","created_at":"2026-04-01T00:00:00.000Z","customer_id":"00000000-0000-4000-8000-000000000011","assistant_id":null}],"meta":{"page":1,"limit":25,"total":1,"total_pages":1,"has_more":false,"next_cursor":null}}`},
		{"message detail", "GET", "/api/v1/messages/" + id(21), a.key, 200,
			`…"assistant_id":null,"wa_message_id":"wamid.1"}}`},
		{"page past the end", "GET", "/api/v1/calls?page=4", a.key, 200,
			`{"data":[],"meta":{"page":4,"limit":25,"total":60,"total_pages":3,"has_more":false,"next_cursor":null}}`},
		{"page far past the end", "GET", "/api/v1/calls?page=99999999999999999999999", a.key, 200,
			`…"total":60,"total_pages":3,"has_more":false,"next_cursor":null}}`},
		{"a tenant without rows", "GET", "/api/v1/calls", a.empty, 200,
			`{"data":[],"meta":{"page":1,"limit":25,"total":0,"total_pages":0,"has_more":false,"next_cursor":null}}`},
		{"unknown id", "GET", "/api/v1/calls/" + id(12345), a.key, 404, notFound},
		{"another's id: the same bytes", "GET", "/api/v1/calls/" + id(900), a.key, 404, notFound},
		{"a call's id among customers", "GET", "/api/v1/customers/" + id(1), a.key, 404, notFound},
		{"id that is no UUID", "GET", "/api/v1/calls/17", a.key, 400, `…{"code":"INVALID_ID"`},
		{"id in another spelling", "GET", "/api/v1/calls/00000000000040008000000000000001", a.key, 400,
			`…{"code":"INVALID_ID"`},
		{"id in capitals", "GET", "/api/v1/messages/" + strings.ToUpper(id(21)), a.key, 200, `…"wamid.1"`},
		{"no key", "GET", "/api/v1/calls", "", 401, missing},
		{"unknown key", "GET", "/api/v1/calls", "sk_" + strings.Repeat("a", 32), 401, unknown},
		{"malformed key", "GET", "/api/v1/calls", "'; DROP TABLE keys", 401, unknown},
		{"revoked key", "GET", "/api/v1/calls", a.old, 401, revoked},
		{"key in the address", "GET", "/api/v1/calls?key=" + a.key + "&x-api-key=" + a.key, "", 401, missing},
		{"bad from", "GET", "/api/v1/calls?from=yesterday", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"bad to", "GET", "/api/v1/customers?to=2026-02-30", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"bad assistant", "GET", "/api/v1/calls?assistant_id=1", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"bad customer", "GET", "/api/v1/messages?customer_id=1%27%20OR%201=1", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"filter that is no text", "GET", "/api/v1/calls?status=%ff", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"badly escaped filter", "GET", "/api/v1/calls?status=%zz", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"semicolons", "GET", "/api/v1/calls?status=busy;page=1", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"year zero", "GET", "/api/v1/calls?to=0000-12-31", a.key, 400, `…{"code":"INVALID_FILTER"`},
		{"double slash", "GET", "//api/v1/calls", a.key, 404, `…{"code":"NOT_FOUND"`},
		{"trailing slash", "GET", "/api/v1/calls/" + id(900) + "/", a.key, 404, `…{"code":"NOT_FOUND"`},
		{"unknown path", "GET", "/api/v1/secrets", a.key, 404, `…{"code":"NOT_FOUND"`},
		{"wrong method", "POST", "/api/v1/calls", a.key, 405, `…{"code":"METHOD_NOT_ALLOWED"`},
		{"wrong method on a detail", "DELETE", "/api/v1/calls/" + id(1), a.key, 405, `…{"code":"METHOD_NOT_ALLOWED"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := a.do(t, test.method, test.path, test.key)
			got.body = someCursor.ReplaceAllString(got.body, `"next_cursor":"…"`)
			rest, partial := strings.CutPrefix(test.body, "…")
			if got.status != test.status || !partial && got.body != test.body || partial && !strings.Contains(got.body, rest) {
				t.Errorf("%d %s\nnot %d %s", got.status, got.body, test.status, test.body)
			}
		})
	}
}

func TestHead_HasHeadersOfGet(t *testing.T) {
	t.Parallel()
	a := start(t)
	for _, path := range []string{"/api/v1/calls", "/api/v1/calls/" + id(1), "/api/v1/calls/" + id(900)} {
		get, head := a.do(t, "GET", path, a.key), a.do(t, "HEAD", path, a.key)
		if head.status != get.status || head.body != "" || head.header.Get("Content-Length") != fmt.Sprint(len(get.body)) {
			t.Errorf("%s: HEAD is %d with Content-Length %s, GET %d with %d bytes", path, head.status,
				head.header.Get("Content-Length"), get.status, len(get.body))
		}
	}
}

// What each filter leaves, by the total that the list says.
func TestLists_Filters(t *testing.T) {
	t.Parallel()
	a := start(t)
	for query, total := range map[string]int{
		"calls":                        60,
		"calls?status=completed":       29,
		"calls?status=on-hold_line":    1,
		"calls?status=on_hold-line":    1,
		"calls?status=no_answer":       29,
		"calls?status=in-progress":     1,
		"calls?status=nothing-like-it": 0,
		"calls?status=":                60,
		"calls?direction=inbound":      1,
		"calls?assistant_id=11111111-0000-4000-8000-000000000001":     1,
		"calls?assistant_id=00000000-0000-0000-0000-000000000000":     0,
		"calls?phone_number=%2B919876512345":                          1,
		"calls?phone_number=+919876512345":                            1,
		"calls?phone_number=%2B91+98765+12345":                        1,
		"calls?phone_number=+49302":                                   1,
		"calls?from=2026-04-18T19:50:20.322Z":                         1,
		"calls?from=2026-04-18T19:50:20.323Z":                         0,
		"calls?from=2026-04-18&to=2026-04-18":                         1,
		"calls?from=2026-04-18T00:00:00Z&to=2026-04-18T19:50:20.322Z": 1,
		"calls?from=2026-04-18T00:00:00Z&to=2026-04-18T19:50:20.321Z": 0,
		"calls?from=2026-04-19T01:20:20.322%2B05:30":                  1,
		"calls?from=2026-04-19T01:20:20.322+05:30":                    1,
		"calls?from=2026-05-01&to=2026-01-01":                         0,
		"calls?status=completed&direction=inbound":                    0,
		"customers?search=ASHA":                                       1,
		"customers?search=jonas@EXAMPLE":                              1,
		"customers?search=98765":                                      1,
		"customers?search=wei%C3%9F":                                  1,
		"customers?search=%25":                                        0,
		"customers?source=website":                                    1,
		"customers?from=2026-01-05":                                   1,
		"messages?direction=inbound":                                  1,
		"messages?customer_id=" + id(11):                              1,
		"messages?phone_number=919876512345":                          1,
		"messages?phone_number=+919876512345":                         1,
		"messages?phone_number=%2B918000000001":                       1,
		"messages?phone_number=" + url.QueryEscape("' OR ''='"):       0,
	} {
		var list struct {
			Meta struct{ Total int }
		}
		got := a.do(t, "GET", "/api/v1/"+query, a.key)
		noError(t, json.Unmarshal([]byte(got.body), &list))
		if got.status != 200 || list.Meta.Total != total {
			t.Errorf("%s: status %d, total %d, not %d", query, got.status, list.Meta.Total, total)
		}
	}
}

// page and limit are forgiving.
func TestLists_PageAndLimit(t *testing.T) {
	t.Parallel()
	a := start(t)
	for query, want := range map[string]string{
		"":                  "1 25 25",
		"page=2":            "2 25 25",
		"page=x&limit=y":    "1 25 25",
		"page=-3&limit=-1":  "1 1 1",
		"page=0&limit=0":    "1 25 25",
		"limit=000":         "1 25 25",
		"limit=1000":        "1 100 60",
		"page=3&limit=25":   "3 25 10",
		"page=1.5&limit=10": "1 10 10",
	} {
		var list struct {
			Data []json.RawMessage
			Meta struct{ Page, Limit int }
		}
		noError(t, json.Unmarshal([]byte(a.do(t, "GET", "/api/v1/calls?"+query, a.key).body), &list))
		if got := fmt.Sprint(list.Meta.Page, " ", list.Meta.Limit, " ", len(list.Data)); got != want {
			t.Errorf("%s: page, limit and rows are %s, not %s", query, got, want)
		}
	}
}

func TestAuth_RevocationAppliesToTheNextRequest(t *testing.T) {
	t.Parallel()
	a := start(t)
	key, text, err := a.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	if got := a.do(t, "GET", "/api/v1/calls", text); got.status != 200 {
		t.Fatal(got)
	}
	_, err = a.warehouse.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	if got := a.do(t, "GET", "/api/v1/calls", text); got.status != 401 {
		t.Fatal(got)
	}
}

// broken is a store whose methods return the given errors.
type broken struct {
	httpapi.Store
	err   error
	panic bool
}

func (b broken) Authenticate(string) (control.Key, context.Context, error) {
	return control.Key{Tenant: mine}, context.Background(), nil
}

func (b broken) LogRequest(control.Request) {}

func (b broken) Get(context.Context, uuid.UUID, schema.Dataset, uuid.UUID) (string, error) {
	if b.panic {
		panic(b.err)
	}
	return "", b.err
}

// Whatever goes wrong inside is a 500 that shows nothing of it; the log has it.
func TestErrors_InternalTextIsHidden(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]broken{
		"error": {err: errors.New("IO Error: /srv/data/secret.duckdb")},
		"panic": {err: errors.New("IO Error: /srv/data/secret.duckdb"), panic: true},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			a := &api{Server: httptest.NewServer(httpapi.New(httpapi.Options{Store: store,
				Log: slog.New(slog.NewTextHandler(&log, nil))}))}
			defer a.Close()
			got := a.do(t, "GET", "/api/v1/calls/"+id(1), "sk_anything")
			if got.status != 500 || got.body != `{"error":{"code":"INTERNAL_ERROR","message":"Server error - contact support","request_id":"`+got.header.Get("X-Request-Id")+`"}}` {
				t.Errorf("%d %s", got.status, got.body)
			}
			if !strings.Contains(log.String(), "secret.duckdb") {
				t.Errorf("the log says %s", log.String())
			}
		})
	}
}

// The documented limits, with every header of them, up to the request that is too many.
func TestRateLimit_HeadersAnd429(t *testing.T) {
	t.Parallel()
	at := time.Now()
	a := start(t, func(o *httpapi.Options) {
		o.Rules, o.Limiter = httpapi.DefaultRules, limit.NewMemory(1000, func() time.Time { return at })
	})
	for n := range 10 {
		got := a.do(t, "GET", "/api/v1/calls/"+id(900), a.key) // a 404 counts, and has the headers, too
		reset, err := strconv.ParseInt(got.header.Get("X-RateLimit-Reset"), 10, 64)
		noError(t, err)
		if got.status != 404 || got.header.Get("X-RateLimit-Limit") != "60" ||
			got.header.Get("X-RateLimit-Remaining") != fmt.Sprint(59-n) ||
			time.Until(time.Unix(reset, 0)) < 55*time.Second || time.Until(time.Unix(reset, 0)) > 61*time.Second {
			t.Fatalf("request %d: %d %v", n, got.status, got.header)
		}
	}
	at = at.Add(1500 * time.Millisecond)
	got := a.do(t, "GET", "/api/v1/calls", a.key)
	if got.status != 429 || got.header.Get("Retry-After") != "4" || got.header.Get("X-RateLimit-Remaining") != "50" ||
		got.header.Get("RateLimit-Policy") != `"0";q=60;w=60, "1";q=10;w=5` ||
		got.header.Get("RateLimit") != `"0";r=50;t=59` ||
		got.body != `{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded. Maximum 10 requests per 5 seconds.","retry_after":4}}` {
		t.Fatalf("%d %v %s", got.status, got.header, got.body)
	}
	if other := a.do(t, "GET", "/api/v1/calls", a.empty); other.status != 200 {
		t.Errorf("another key: %d", other.status)
	}
	at = at.Add(4 * time.Second) // the Retry-After of the response
	if got := a.do(t, "GET", "/api/v1/calls", a.key); got.status != 200 {
		t.Errorf("after the wait: %d %s", got.status, got.body)
	}
	if got := a.do(t, "GET", "/api/v1/calls", "sk_"+strings.Repeat("a", 32)); got.header.Get("X-RateLimit-Limit") != "" {
		t.Error("an unknown key has a limit of its own")
	}
}
