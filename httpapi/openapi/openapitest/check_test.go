package openapitest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A faultRecorder is a testing.TB that records errors instead of failing.
type faultRecorder struct {
	testing.TB
	faults []string
}

func (r *faultRecorder) Helper() {}

func (r *faultRecorder) Errorf(format string, arguments ...any) {
	r.faults = append(r.faults, fmt.Sprintf(format, arguments...))
}

// An exchange is a request and its response.
type exchange struct {
	method, target string
	key            string
	status         int
	header         map[string]string
	body           string
}

func (e exchange) check(t *testing.T) []string {
	request := httptest.NewRequestWithContext(t.Context(), e.method, e.target, nil)
	if e.key != "" {
		request.Header.Set("x-api-key", e.key)
	}
	response := &http.Response{StatusCode: e.status, Header: http.Header{}}
	for name, value := range e.header {
		response.Header.Set(name, value)
	}
	r := &faultRecorder{TB: t}
	openapitest.Check(r, request, response, []byte(e.body))
	return r.faults
}

const (
	id      = "3d594650-3436-4c3a-9f0e-1d8f2c9a7b10"
	message = `"id":"` + id +
		`","direction":"inbound","content":{"text":{"body":"hi"}},"message_type":"text","from_number":null,"to_number":null,"status":"read","is_from_bot":false,"delivered_at":null,"read_at":null,"created_at":"2026-04-01T00:00:00.000Z","customer_id":null,"assistant_id":null`
	meta     = `"page":1,"limit":25,"total":1,"total_pages":1,"has_more":false,"next_cursor":null`
	feed     = `"page":null,"limit":25,"total":null,"total_pages":null,"has_more":false,"next_cursor":null,"resume_cursor":"YQ","seq":7`
	deleted  = `{"id":"` + id + `","deleted":true,"deleted_at":"2026-04-01T00:00:00.000Z"}`
	notFound = `{"error":{"code":"NOT_FOUND","message":"Resource not found"}}`
)

func list(rows, meta string) string { return `{"data":[` + rows + `],"meta":{` + meta + `}}` }

// validExchange returns an exchange that matches the document. The invalid ones are derived from these.
func validExchange(name string) exchange {
	header := func(more ...string) map[string]string {
		h := map[string]string{"X-Request-Id": "b1946ac92492d234", "X-API-Version": "v1", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Cache-Control": "no-store, no-cache, must-revalidate, private",
			"Vary":         "Accept, Accept-Encoding",
			"Content-Type": "application/json; charset=utf-8", "Content-Length": "1", "Date": "Wed, 01 Apr 2026 00:00:00 GMT"}
		for pair := range slices.Chunk(more, 2) {
			h[pair[0]] = pair[1]
		}
		return h
	}
	problem := header("Content-Type", "application/problem+json")
	const messages = "/api/v1/messages"
	switch name {
	case "list":
		return exchange{"GET", messages + "?page=x&limit=-1&from=2026-04-01+05:30&customer_id=&since=", "pk_1", 200,
			header("X-RateLimit-Limit", "60", "RateLimit", `"0";r=59;t=60`, "Link",
				`</api/v1/messages?cursor=YQ>; rel="next"`), list("{"+message+"}", meta)}
	case "a date-time with zone":
		return exchange{"GET", messages + "?to=2026-04-01T00:00:00.5%2B05:30&include_total=no&page=2&nothing=1", "pk_1",
			200, header(), list("", meta)}
	case "uncounted list":
		return exchange{"GET", messages + "?include_total=false", "pk_1", 200, header(),
			list("", strings.ReplaceAll(meta, ":1", ":null"))}
	case "changes":
		return exchange{"GET", messages + "?since=0", "pk_1", 200, header(), list("{"+message+"},"+deleted, feed)}
	case "detail":
		return exchange{"GET", messages + "/" + id, "pk_1", 200, header("ETag", `"1"`),
			`{"data":{` + message + `,"wa_message_id":null}}`}
	case "HEAD":
		return exchange{"HEAD", messages + "/" + id, "pk_1", 200, header("ETag", `"1"`), ""}
	case "not modified":
		return exchange{"GET", messages + "/" + id, "pk_1", 304, header("ETag", `"1"`), ""}
	case "bad filter":
		return exchange{"GET", messages + "?customer_id=x", "pk_1", 400, header(),
			`{"error":{"code":"INVALID_FILTER","message":"no"}}`}
	case "no key":
		return exchange{"GET", messages, "", 401, problem,
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no","code":"MISSING_API_KEY"}`}
	case "too many":
		return exchange{"GET", messages, "pk_1", 429, header("Retry-After", "4"),
			`{"error":{"code":"RATE_LIMIT_EXCEEDED","message":"no","retry_after":4}}`}
	case "internal":
		return exchange{"GET", messages, "pk_1", 500, problem, `{"type":"about:blank","title":"Internal Server ` +
			`Error","status":500,"detail":"no","code":"INTERNAL_ERROR","request_id":"1"}`}
	case "unknown path":
		return exchange{"GET", "//api/v1/messages", "pk_1", 404, header(), notFound}
	case "unknown path below a list":
		return exchange{"HEAD", messages + "/" + id + "/more", "pk_1", 404, header(), ""}
	case "wrong method":
		return exchange{"DELETE", messages, "pk_1", 405, header("Allow", "GET, HEAD, OPTIONS"),
			`{"error":{"code":"METHOD_NOT_ALLOWED","message":"no"}}`}
	case "options":
		return exchange{"OPTIONS", messages, "", 204,
			header("Allow", "GET, HEAD, OPTIONS", "Access-Control-Max-Age", "600"), ""}
	case "ready":
		return exchange{"GET", "/readyz", "", 503, header(),
			`{"status":"not ready","checks":{"warehouse":"failed","redis":"away"},"conditions":{}}`}
	case "page":
		return exchange{"GET", "/docs", "", 200,
			header("Content-Type", "text/html; charset=utf-8", "Content-Security-Policy", "default-src 'none'"),
			"<!doctype html>"}
	}
	panic(name)
}

func TestCheck_ValidExchanges(t *testing.T) {
	for _, name := range []string{"list", "a date-time with zone", "uncounted list", "changes", "detail", "HEAD",
		"not modified", "bad filter",
		"no key", "too many", "internal", "unknown path", "unknown path below a list", "wrong method", "options", "ready",
		"page"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if faults := validExchange(name).check(t); len(faults) > 0 {
				t.Error(faults)
			}
		})
	}
}

// Each invalid exchange differs from a valid one in one respect, which the reported error names.
func TestCheck_InvalidExchanges(t *testing.T) {
	for name, test := range map[string]struct {
		good  string
		wrong func(e *exchange)
		fault string
	}{
		"unknown field of a row": {"list", func(e *exchange) { e.body = list("{"+message+`,"user_id":1}`, meta) },
			"user_id"},
		"unknown field of a detail": {"detail",
			func(e *exchange) { e.body = `{"data":{` + message + `,"wa_message_id":null,"config_id":1}}` }, "config_id"},
		"detail field in a list": {"list",
			func(e *exchange) { e.body = list("{"+message+`,"wa_message_id":null}`, meta) }, "wa_message_id"},
		"missing field": {"detail", func(e *exchange) { e.body = `{"data":{` + message + `}}` },
			"wa_message_id"},
		"wrong type": {"list", func(e *exchange) { e.body = strings.ReplaceAll(e.body, "false", "0") },
			"is_from_bot"},
		"number as text": {"list",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `"total":1`, `"total":"1"`) }, "total"},
		"no UUID": {"detail", func(e *exchange) { e.body = strings.ReplaceAll(e.body, id, "17") },
			"uuid"},
		"no time": {"detail", func(e *exchange) { e.body = strings.ReplaceAll(e.body, "T00", " 00") },
			"date-time"},
		"null that is none": {"list",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `"limit":25`, `"limit":null`) }, "limit"},
		"unknown meta":          {"list", func(e *exchange) { e.body = list("", meta+`,"seq":1`) }, "resume_cursor"},
		"deleted row in a page": {"list", func(e *exchange) { e.body = list(deleted, meta) }, "deleted"},
		"deleted row with more": {"changes",
			func(e *exchange) { e.body = list(strings.Replace(deleted, "{", `{"status":"x",`, 1), feed) }, "status"},
		"feed without seq": {"changes",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `,"seq":7`, "") }, "resume_cursor"},
		"seq before the end": {"changes",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `"has_more":false`, `"has_more":true`) }, "seq"},
		"no JSON":            {"list", func(e *exchange) { e.body = "{" }, "body"},
		"no body":            {"list", func(e *exchange) { e.body = "" }, "completely missing"},
		"body where none is": {"not modified", func(e *exchange) { e.body = "{}" }, "no body here"},
		"status it does not have": {"list", func(e *exchange) { e.status = 404; e.body = notFound },
			"does not describe this status"},
		"another success":             {"list", func(e *exchange) { e.status = 206 }, "does not describe this status"},
		"wrong content type":          {"list", func(e *exchange) { e.header["Content-Type"] = "text/plain" }, "text/plain"},
		"wrong content type of HEAD":  {"HEAD", func(e *exchange) { e.header["Content-Type"] = "text/plain" }, "text/plain"},
		"missing header":              {"list", func(e *exchange) { delete(e.header, "X-Request-Id") }, "X-Request-Id"},
		"missing header of HEAD":      {"HEAD", func(e *exchange) { delete(e.header, "ETag") }, "ETag"},
		"missing header of a problem": {"too many", func(e *exchange) { delete(e.header, "Retry-After") }, "Retry-After"},
		"wrong value of a header": {"list", func(e *exchange) { e.header["X-Frame-Options"] = "SAMEORIGIN" },
			"x-frame-options"},
		"header that is no number": {"list", func(e *exchange) { e.header["X-RateLimit-Limit"] = "many" },
			"x-ratelimit-limit"},
		"unknown header": {"list", func(e *exchange) { e.header["X-Powered-By"] = "us" }, "X-Powered-By"},
		"unknown code": {"no key",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, "MISSING", "LOST") }, "code"},
		"problem in the other form": {"no key", func(e *exchange) { e.body = notFound }, "'title'"},
		"no retry_after": {"too many",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `,"retry_after":4`, "") }, "retry_after"},
		"no request_id": {"internal",
			func(e *exchange) { e.body = strings.ReplaceAll(e.body, `,"request_id":"1"`, "") }, "request_id"},
		"success without a key": {"list", func(e *exchange) { e.key = "" }, "x-api-key"},
		"success with a bad filter": {"list", func(e *exchange) { e.target = "/api/v1/messages?customer_id=17" },
			"customer_id"},
		"success with a bad time":  {"list", func(e *exchange) { e.target = "/api/v1/messages?from=yesterday" }, "from"},
		"success with a bad since": {"list", func(e *exchange) { e.target = "/api/v1/messages?since=-1" }, "since"},
		"success with a bad id":    {"detail", func(e *exchange) { e.target = "/api/v1/messages/17" }, "id"},
		"unknown path that answers": {"list", func(e *exchange) { e.target = "/api/v1/nothing" }, "does not describe " +
			"this status"},
		"unknown path, other error": {"unknown path", func(e *exchange) { e.body = "404 page not found" }, "body"},
		"wrong method that answers": {"list", func(e *exchange) { e.method = "POST" }, "does not describe this status"},
		"wrong method, no Allow":    {"wrong method", func(e *exchange) { delete(e.header, "Allow") }, "Allow"},
		"a check of a new kind": {"ready", func(e *exchange) { e.body = strings.ReplaceAll(e.body, "away", "gone") },
			"redis"},
		"page without a policy": {"page", func(e *exchange) { delete(e.header, "Content-Security-Policy") },
			"Content-Security-Policy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := validExchange(test.good)
			test.wrong(&e)
			faults := e.check(t)
			if text := strings.Join(faults, "\n"); len(faults) == 0 || !strings.Contains(text, test.fault) {
				t.Errorf("got faults %s, want one with %q", text, test.fault)
			}
		})
	}
}

func TestRoutes_OfDocument(t *testing.T) {
	routes := openapitest.Routes()
	if len(routes) != 26 || !slices.Contains(routes, "GET /api/v1/calls/{id}") ||
		!slices.Contains(routes, "GET /healthz") ||
		!slices.Contains(routes, "POST /api/v1/ingest/{dataset}") {
		t.Errorf("got routes %v", routes)
	}
}
