package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/voicory/warehouse/httpapi"
)

// Requests that no handler sees, and methods that no route has, get the error object and the headers of all responses.
func TestRawErrors_HaveErrorObjectAndHeaders(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	server := httptest.NewUnstartedServer(b.Config.Handler)
	server.Listener = httpapi.RawErrors(server.Listener)
	server.Config.MaxHeaderBytes = 1 << 10
	server.Start()
	defer server.Close()
	for name, test := range map[string]struct {
		request string
		status  int
		code    string
	}{
		"malformed escape": {"GET /api/v1/calls/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"},
		"cut escape":       {"GET /api/v1/calls/% HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"},
		"malformed escape in query": {"GET /api/v1/calls?from=%zz HTTP/1.1\r\nHost: x\r\nX-Api-Key: " + b.secret + "\r\n\r\n",
			400, "INVALID_FILTER"},
		"no host":    {"GET /api/v1/calls HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"},
		"no request": {"nonsense\r\n\r\n", 400, "BAD_REQUEST"},
		"transfer encoding": {"POST /api/v1/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n", 501,
			"NOT_IMPLEMENTED"},
		"version": {"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505, "HTTP_VERSION_NOT_SUPPORTED"},
		"large headers": {"GET /api/v1/calls HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("x", 8<<10) + "\r\n\r\n",
			431, "HEADERS_TOO_LARGE"},
		"method":           {"PATCH /api/v1/calls HTTP/1.1\r\nHost: x\r\n\r\n", 405, "METHOD_NOT_ALLOWED"},
		"method and slash": {"PUT /api/v1/calls/ HTTP/1.1\r\nHost: x\r\n\r\n", 405, "METHOD_NOT_ALLOWED"},
		"odd method":       {"BREW /api/v1/calls HTTP/1.1\r\nHost: x\r\n\r\n", 405, "METHOD_NOT_ALLOWED"},
		"no path":          {"GET /nowhere/ HTTP/1.1\r\nHost: x\r\n\r\n", 404, "NOT_FOUND"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
			noError(t, err)
			defer conn.Close()
			_, err = fmt.Fprint(conn, test.request)
			noError(t, err)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			noError(t, err)
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			noError(t, err)
			if response.StatusCode != test.status || code(string(body)) != test.code {
				t.Errorf("got %d %s, want %d %s", response.StatusCode, body, test.status, test.code)
			}
			h := response.Header
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" ||
				h.Get("X-Api-Version") != "v1" ||
				!strings.Contains(h.Get("Cache-Control"), "no-store") ||
				h.Get("Content-Type") != "application/json; charset=utf-8" {
				t.Errorf("got the headers %v", h)
			}
		})
	}
}

// A path with a slash at its end is served as the path without it.
func TestTrailingSlash_IsServed(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for _, op := range operations(t) {
		want, got := httptest.NewRecorder(), httptest.NewRecorder()
		for path, answer := range map[string]*httptest.ResponseRecorder{op.path: want, op.path + "/": got} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
			request.Header.Set("X-Api-Key", b.secret)
			b.Config.Handler.ServeHTTP(answer, request)
		}
		if got.Code != want.Code || got.Header().Get("Content-Type") != want.Header().Get("Content-Type") {
			t.Errorf("%s/: got %d %.100s, want %d %.100s", op.path, got.Code, got.Body, want.Code, want.Body)
		}
	}
}
