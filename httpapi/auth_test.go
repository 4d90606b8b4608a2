package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// A key may have limits of its own, or none; others keep the server's.
func TestAuth_KeyRateLimitOverridesDefault(t *testing.T) {
	t.Parallel()
	at := time.Now()
	a := start(t, func(o *httpapi.Options) {
		o.Rules, o.Limiter = limit.Rules{{Max: 2, Window: time.Minute}}, limit.NewMemory(1000, func() time.Time { return at })
	})
	for rules, wanted := range map[string]struct {
		passed int
		policy string
	}{
		"":           {2, `"0";q=2;w=60`},
		"4/1h,3/10s": {3, `"0";q=4;w=3600, "1";q=3;w=10`},
		"none":       {10, ""},
	} {
		_, key, err := a.warehouse.CreateKey(t.Context(), mine, control.Public, control.KeySettings{RateLimit: rules})
		noError(t, err)
		passed, policy := 0, ""
		for range 10 {
			got := a.do(t, "GET", "/api/v1/messages", key)
			policy = got.header.Get("RateLimit-Policy")
			if got.status == 200 {
				passed++
			}
		}
		if passed != wanted.passed || policy != wanted.policy {
			t.Errorf("%q: %d passed, policy %s", rules, passed, policy)
		}
	}
}

// Unknown keys are counted by address; a good key from the same address passes, and a missing one is not counted.
func TestAuth_UnknownKeysAreLimitedByAddress(t *testing.T) {
	t.Parallel()
	at := time.Now()
	a := start(t, func(o *httpapi.Options) {
		o.GuessRules, o.Guesses = limit.Rules{{Max: 3, Window: time.Minute}},
			limit.NewMemory(1000, func() time.Time { return at })
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	})
	guess := func(n int, forwarded string) answer {
		return a.do(t, "GET", "/api/v1/calls", fmt.Sprintf("sk_%032d", n), "X-Forwarded-For", forwarded)
	}
	for n := range 3 {
		if got := guess(n, "203.0.113.7"); got.status != 401 {
			t.Fatalf("guess %d: %d %s", n, got.status, got.body)
		}
	}
	// the entries before 203.0.113.7 were written by the client
	for _, from := range []string{"203.0.113.7", "198.51.100.1, 203.0.113.7, 10.1.2.3", "nonsense, 203.0.113.7"} {
		if got := guess(4, from); got.status != 429 || got.header.Get("Retry-After") != "60" ||
			!strings.Contains(got.body, "RATE_LIMIT_EXCEEDED") {
			t.Errorf("%s: %d %v %s", from, got.status, got.header, got.body)
		}
	}
	for from, want := range map[string]int{"203.0.113.8": 401, "": 401, "2001:db8::1": 401, "2001:db8:0:1::1": 401} {
		if got := guess(5, from); got.status != want {
			t.Errorf("%s: %d", from, got.status)
		}
	}
	for n := range 2 {
		guess(n, fmt.Sprintf("2001:db8::%d", n+2))
	}
	if got := guess(9, "2001:db8::ffff"); got.status != 429 {
		t.Errorf("a neighbour in the same /64: %d", got.status)
	}
	if got := a.do(t, "GET", "/api/v1/calls", a.key, "X-Forwarded-For", "203.0.113.7"); got.status != 200 {
		t.Errorf("a good key: %d", got.status)
	}
	if got := a.do(t, "GET", "/api/v1/calls", "", "X-Forwarded-For", "203.0.113.7"); got.status != 401 {
		t.Errorf("no key: %d", got.status)
	}
	at = at.Add(time.Minute)
	if got := guess(9, "203.0.113.7"); got.status != 401 {
		t.Errorf("after the wait: %d", got.status)
	}
}

// X-Forwarded-For is ignored unless a trusted proxy sent it.
func TestClientAddress_ForwardedForOnlyFromTrustedProxies(t *testing.T) {
	t.Parallel()
	a := start(t, func(o *httpapi.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
	a.do(t, "GET", "/api/v1/calls", a.key, "X-Forwarded-For", "203.0.113.7")
	requests, err := a.warehouse.Requests(t.Context(), time.Now().Add(-time.Hour), uuid.NullUUID{}, 10)
	noError(t, err)
	if len(requests) != 1 || requests[0].Address != "127.0.0.1" {
		t.Errorf("%+v", requests)
	}
}

func TestAuth_ExpiredKey(t *testing.T) {
	t.Parallel()
	a := start(t)
	past := time.Now().Add(-time.Hour)
	_, key, err := a.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{ExpiresAt: &past})
	noError(t, err)
	if got := a.do(t, "GET", "/api/v1/calls", key); got.status != 401 ||
		got.body != `{"error":{"code":"REVOKED_API_KEY","message":"API key has expired"}}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// An answer that is being sent is cut off when its key is revoked.
func TestAuth_RevocationAbortsRunningRequests(t *testing.T) {
	t.Parallel()
	a := start(t)
	long := strings.Repeat("x", 400_000)
	var rows []string
	for n := range 50 {
		rows = append(rows, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-05","name":%q}`, mine, id(1000+n), long))
	}
	merge(t, a.warehouse, schema.Customers, rows...)
	key, text, err := a.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", a.Listener.Addr().String())
	noError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /api/v1/customers?limit=100 HTTP/1.1\r\nHost: x\r\nx-api-key: %s\r\n\r\n", text)
	noError(t, err)
	begun := make([]byte, 100_000)
	_, err = io.ReadFull(conn, begun) // the rest, some 20 MB, is more than the sockets hold
	noError(t, err)
	if !bytes.HasPrefix(begun, []byte("HTTP/1.1 200")) {
		t.Fatalf("%.200s", begun)
	}
	_, err = a.warehouse.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	// until the server has hung up, cleanly or not
	rest, _ := io.Copy(io.Discard, io.LimitReader(conn, 50*int64(len(long))-int64(len(begun))))
	if len(begun)+int(rest) >= 50*len(long) {
		t.Error("all of it was sent")
	}
}

// Web pages of other origins may use a public key that names them.
func TestCORS_OriginsOfAKey(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	const app, files, old, other = "https://app.example.com", "https://files.example.com", "https://old.example.com",
		"https://other.example.com"
	create := func(typ control.KeyType, origin string) (control.Key, string) {
		created, text, err := b.warehouse.CreateKey(t.Context(), mine, typ, control.KeySettings{Origins: []string{origin}})
		noError(t, err)
		return created, text
	}
	_, key := create(control.Public, app)
	_, secret := create(control.Secret, files)
	revoked, oldKey := create(control.Public, old)
	_, err := b.warehouse.RevokeKey(t.Context(), revoked.ID)
	noError(t, err)
	unknown := "pk_" + strings.Repeat("x", 32)
	listed := b.ask(t, "GET", "/api/v1/exports/calls/files?signed=true", secret)
	_, signed, _ := strings.Cut(listed.body, `"url":"`)
	signed, _, _ = strings.Cut(signed, `"`)
	signed = strings.ReplaceAll(signed, `\u0026`, "&")
	for _, test := range []struct {
		method, path, key, origin, allowed string
		status                             int
	}{
		{"GET", "/api/v1/calls", key, app, app, 200},
		{"GET", "/api/v1/calls/17", key, app, app, 400}, // errors can be read, too
		{"GET", "/api/v1/calls", key, other, "", 200},
		{"GET", "/api/v1/calls", b.key, app, "", 200},    // another key
		{"GET", "/api/v1/calls", secret, files, "", 200}, // a secret key in a page
		{"GET", "/api/v1/calls", "", app, app, 401},      // an origin of any key can read why the request failed
		{"GET", "/api/v1/calls", unknown, app, app, 401},
		{"GET", "/api/v1/calls", unknown, other, "", 401},
		{"GET", "/api/v1/calls", unknown, files, "", 401}, // of a secret key
		{"GET", "/api/v1/calls", unknown, old, "", 401},   // of a revoked key
		{"GET", "/api/v1/calls", oldKey, old, old, 401},   // the revoked key itself
		{"GET", signed, "", files, files, 200},
		{"HEAD", signed, "", files, files, 200},
		{"GET", signed, "", app, "", 200},
		{"GET", signed, secret, files, "", 200},
		{"GET", signed + "x", "", files, files, 403},
		{"GET", signed + "x", "", other, "", 403},
		{"OPTIONS", "/api/v1/calls", "", app, app, 204}, // a preflight has no key, and every origin gets the same answer
		{"OPTIONS", "/api/v1/calls", "", other, other, 204},
		{"OPTIONS", signed, "", files, files, 204},
	} {
		const wanted = "cache-control,range,traceparent,x-api-key,x-requested-with"
		request, err := http.NewRequestWithContext(t.Context(), test.method, b.URL+test.path, nil)
		noError(t, err)
		request.Header.Set("Origin", test.origin)
		if test.key != "" {
			request.Header.Set("X-Api-Key", test.key)
		}
		if test.method == "OPTIONS" {
			request.Header.Set("Access-Control-Request-Method", "GET")
			request.Header.Set("Access-Control-Request-Headers", wanted)
		}
		got, err := b.Client().Do(request)
		noError(t, err)
		noError(t, got.Body.Close())
		if allowed := got.Header.Get("Access-Control-Allow-Origin"); got.StatusCode != test.status ||
			allowed != test.allowed ||
			!strings.Contains(strings.Join(got.Header.Values("Vary"), ","), "Origin") {
			t.Errorf("%+v: got %d, origin %q, Vary %v", test, got.StatusCode, allowed, got.Header.Values("Vary"))
		}
		if headers := got.Header.Get("Access-Control-Allow-Headers"); test.method == "OPTIONS" && headers != wanted {
			t.Errorf("the preflight allows %q, want %q", headers, wanted)
		}
		if exposed := got.Header.Get("Access-Control-Expose-Headers"); test.allowed == files && test.method != "OPTIONS" &&
			!strings.Contains(exposed, "Content-Range") {
			t.Errorf("%s exposes %q, want Content-Range", test.path, exposed)
		}
	}
}

// The link to the next page has the scheme and the host that the client used; only a trusted proxy may name others.
func TestLink_IsAbsolute(t *testing.T) {
	t.Parallel()
	forwarded := []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example.com"}
	for proxies, want := range map[string]string{"": "", "127.0.0.0/8": "https://api.example.com"} {
		a := start(t, func(o *httpapi.Options) {
			if proxies != "" {
				o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix(proxies)}
			}
		})
		if want == "" {
			want = a.URL
		}
		got := a.do(t, "GET", "/api/v1/calls/?limit=1&page=2", a.key, forwarded...).header.Get("Link")
		if !strings.HasPrefix(got, "<"+want+"/api/v1/calls?cursor=") || !strings.HasSuffix(got, `&limit=1>; rel="next"`) {
			t.Errorf("trusted %q: got %s, want a link of %s", proxies, got, want)
		}
	}
}

// slow is a store that waits for the test before it reads.
type slow struct {
	broken
	begun, free chan struct{}
}

func (s slow) Get(context.Context, uuid.UUID, schema.Dataset, uuid.UUID) (string, error) {
	s.begun <- struct{}{}
	<-s.free
	return "", warehouse.ErrNotFound
}

// Authenticate takes every key as that of a tenant of its own.
func (s slow) Authenticate(key string) (control.Key, context.Context, error) {
	tenant := uuid.NewSHA1(uuid.Nil, []byte(key))
	return control.Key{ID: tenant, Tenant: tenant}, context.Background(), nil
}

// withSlots returns the default slots with other limits for one kind of work. A request waits for hardly any time.
func withSlots(work httpapi.Work, total, perTenant, perKey int) httpapi.Slots {
	slots := httpapi.NewSlots(httpapi.DefaultConcurrent)
	slots[work] = admission.New(admission.Limits{Total: total, PerTenant: perTenant, PerKey: perKey, MaxWait: 1})
	return slots
}

// A request without a slot is refused with the share that is used up, and may come again.
func TestAdmission_RequestsWithoutSlotAreRefused(t *testing.T) {
	t.Parallel()
	store := slow{begun: make(chan struct{}), free: make(chan struct{})}
	registry := prometheus.NewRegistry()
	a := start(t, func(o *httpapi.Options) {
		o.Store, o.Slots, o.Metrics = store, withSlots(httpapi.Requests, 3, 2, 2), registry
	})
	var group sync.WaitGroup
	for _, key := range []string{"sk_first", "sk_first", "sk_second"} {
		group.Go(func() {
			if got := a.do(t, "GET", "/api/v1/calls/"+id(1), key); got.status != 404 {
				t.Errorf("%s, which had a slot: got %d, want 404", key, got.status)
			}
		})
		<-store.begun
	}
	for key, want := range map[string]string{
		"sk_first":  `429 {"error":{"code":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded. Maximum 2 requests at a time with one key.","retry_after":1}}`,
		"sk_second": `503 {"error":{"code":"SERVER_BUSY","message":"The server is busy with other requests","retry_after":1}}`,
		"sk_third":  `503 {"error":{"code":"SERVER_BUSY","message":"The server is busy with other requests","retry_after":1}}`,
	} {
		if got := a.do(t, "GET", "/api/v1/calls/"+id(1), key); fmt.Sprint(got.status, " ", got.body) != want ||
			got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: got %d %v %s, want %s", key, got.status, got.header, got.body, want)
		}
	}
	if got := a.do(t, "GET", "/healthz", ""); got.status != 200 {
		t.Errorf("healthz: got %d, want 200", got.status)
	}
	noError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP voicory_admission_active Slots in use, by kind of work.
# TYPE voicory_admission_active gauge
voicory_admission_active{work="bodies"} 0
voicory_admission_active{work="exports"} 0
voicory_admission_active{work="files"} 0
voicory_admission_active{work="pushes"} 0
voicory_admission_active{work="queries"} 0
voicory_admission_active{work="requests"} 3
`), "voicory_admission_active"))
	close(store.free)
	group.Wait()
}

// The log has the key id, the request and the result, and no key, in whichever part of the request it was sent.
func TestRequestLog_HasRequestAndNoKey(t *testing.T) {
	t.Parallel()
	var stderr bytes.Buffer
	registry := prometheus.NewRegistry()
	a := start(t, func(o *httpapi.Options) {
		o.Log, o.Metrics = slog.New(slog.NewJSONHandler(&stderr, nil)), registry
	})
	got := a.do(t, "GET", "/api/v1/calls?status=busy&token=hush&search="+a.key, a.key, "X-Request-Id", "abc-1",
		"User-Agent", "agent "+a.other)
	a.do(t, "GET", "/api/v1/"+a.other, "sk_"+strings.Repeat("z", 32), "X-Request-Id", "no good\tid")
	if got.header.Get("X-Request-Id") != "abc-1" {
		t.Errorf("%v", got.header)
	}
	a.do(t, "HEAD", "/api/v1/calls", a.key)
	requests, err := a.warehouse.Requests(t.Context(), time.Now().Add(-time.Hour), uuid.NullUUID{}, 10)
	noError(t, err)
	if len(requests) != 3 || requests[2].Bytes != 0 {
		t.Fatalf("%+v", requests)
	}
	first, second := requests[0], requests[1]
	if first.ID != "abc-1" || first.Tenant.UUID != mine || !first.Key.Valid || first.Status != 200 ||
		first.Path != "/api/v1/calls" ||
		first.Query != "search=pk_…&status=busy&token=hidden" || first.Bytes != int64(len(got.body)) ||
		first.DurationMS <= 0 || first.UserAgent != "agent pk_…" {
		t.Errorf("%+v", first)
	}
	if second.Key.Valid || second.Tenant.Valid || second.Status != 404 || second.Path != "/api/v1/pk_…" ||
		len(second.ID) != 36 {
		t.Errorf("%+v", second)
	}
	for _, secret := range []string{a.key, a.other, "hush", "zzzz"} {
		if strings.Contains(stderr.String(), secret) || strings.Contains(fmt.Sprint(requests), secret) {
			t.Errorf("%s is in the log:\n%s", secret, stderr.String())
		}
	}
	for _, part := range []string{`"request_id":"abc-1"`, `"tenant_id":"` + mine.String(), `"status":200`,
		`"path":"/api/v1/calls"`} {
		if !strings.Contains(stderr.String(), part) {
			t.Errorf("%s is not in the log:\n%s", part, stderr.String())
		}
	}
	noError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP voicory_http_requests_total Requests answered, by route, method and status (499: the client left before).
# TYPE voicory_http_requests_total counter
voicory_http_requests_total{method="GET",route="",status="404"} 1
voicory_http_requests_total{method="GET",route="/api/v1/calls",status="200"} 1
voicory_http_requests_total{method="HEAD",route="/api/v1/calls",status="200"} 1
`), "voicory_http_requests_total"))
}

// troubled is a store with conditions.
type troubled struct {
	*warehouse.Warehouse
	list []warehouse.Condition
}

func (s troubled) Conditions() []warehouse.Condition { return s.list }

// Conditions make /readyz degraded, with 200. Only the operator sees the tenants.
func TestHealth_ReportsConditions(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	handler := httpapi.New(httpapi.Options{Log: slog.New(slog.DiscardHandler), Store: troubled{w, []warehouse.Condition{
		{Tenant: mine, Kind: warehouse.StoreMissing, Error: "the file is gone"},
		{Tenant: mine, Kind: warehouse.FileDamaged, Subject: "published/x", Error: "other bytes"},
		{Tenant: mine, Kind: warehouse.FileDamaged, Subject: "published/y", Error: "other bytes"},
	}}})
	read := func(handler http.Handler) *httptest.ResponseRecorder {
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, httptest.NewRequestWithContext(t.Context(), "GET", "/readyz", nil))
		return got
	}
	public := `{"status":"degraded","checks":{},"conditions":{"file_damaged":2,"store_missing":1}`
	if got := read(handler); got.Code != 200 || got.Body.String() != public+"}" {
		t.Errorf("got %d %s, want 200 %s}", got.Code, got.Body, public)
	}
	got := read(httpapi.ForOperator(handler))
	details := `,"details":[{"tenant_id":"` + mine.String() + `","kind":"store_missing","error":"the file is gone",`
	if got.Code != 200 || !strings.HasPrefix(got.Body.String(), public+details) {
		t.Errorf("got %d %s, want 200 %s...", got.Code, got.Body, public+details)
	}
}

func TestHealth_ReportsChecks(t *testing.T) {
	t.Parallel()
	checks := map[string]error{}
	check := func(name string, required bool) httpapi.Check {
		return httpapi.Check{Name: name, Required: required, Run: func(context.Context) error { return checks[name] }}
	}
	a := start(t, func(o *httpapi.Options) { o.Checks = []httpapi.Check{check("warehouse", true), check("redis", false)} })
	fails := fmt.Errorf("at /srv/data/control.duckdb")
	for _, test := range []struct {
		warehouse, redis error
		status           int
		body             string
	}{
		{nil, nil, 200, `{"status":"ready","checks":{"redis":"ok","warehouse":"ok"},"conditions":{}}`},
		{nil, fails, 200, `{"status":"degraded","checks":{"redis":"away","warehouse":"ok"},"conditions":{}}`},
		{fails, nil, 503, `{"status":"not ready","checks":{"redis":"ok","warehouse":"failed"},"conditions":{}}`},
	} {
		checks["warehouse"], checks["redis"] = test.warehouse, test.redis
		if got := a.do(t, "GET", "/readyz", ""); got.status != test.status || got.body != test.body {
			t.Errorf("%d %s", got.status, got.body)
		}
	}
	if got := a.do(t, "GET", "/healthz", ""); got.status != 200 || got.body != `{"status":"ok"}` {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestOptions_AllowedMethods(t *testing.T) {
	t.Parallel()
	a := start(t)
	for path, status := range map[string]int{"/api/v1/calls": 204, "/api/v1/calls/" + id(1): 204, "/healthz": 204,
		"/api/v1/secrets": 404} {
		if got := a.do(t, "OPTIONS", path, ""); got.status != status || status == 204 &&
			(got.header.Get("Allow") != "GET, HEAD, OPTIONS" || got.body != "") {
			t.Errorf("%s: %d %v %s", path, got.status, got.header, got.body)
		}
	}
	if got := a.do(t, "PATCH", "/api/v1/calls", a.key); got.status != http.StatusMethodNotAllowed ||
		got.header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("%d %v", got.status, got.header)
	}
}
