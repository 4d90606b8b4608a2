package httpapi_test

import (
	"context"
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

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
)

// rawRequest sends text on a connection of its own and returns the connection.
func rawRequest(t *testing.T, address, text string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	noError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = io.WriteString(conn, text)
	noError(t, err)
	return conn
}

// A request whose method has no body declares one and does not send it. The server neither starts the work nor keeps
// the connection.
func TestUnusedBody_ThatStallsHoldsNothing(t *testing.T) {
	b := startBulk(t)
	httpapi.WaitNoLongerThan(t, 50*time.Millisecond)
	file := b.files(t, b.secret, "calls", "")[0].URL
	for _, request := range []string{"GET /api/v1/calls", "HEAD /api/v1/calls", "GET /api/v1/calls/" + id(1),
		"GET /api/v1/exports/calls?format=ndjson",
		"GET " + file, "HEAD " + file, "GET " + databasePath, "GET /api/v1/analytics/costs", "DELETE /api/v1/query/x",
		"GET /healthz"} {
		for body, sent := range map[string]string{"Content-Length: 10\r\n": "{", "Content-Length: 100000\r\n": "{",
			"Transfer-Encoding: chunked\r\n": "5\r\n{"} {
			conn := rawRequest(t, b.Listener.Addr().String(), fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n%s\r\n%s",
				request, b.secret, body, sent))
			noError(t, conn.SetReadDeadline(time.Now().Add(5*time.Minute)))
			if answer, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 408 ") {
				t.Errorf("%s with %q: got %.60q and %v, want status 408 and the end of the connection", request, body, answer, err)
			}
		}
	}
}

// A body that arrives is ignored up to 4 KB.
func TestUnusedBody_IsIgnoredOrRefused(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	for size, want := range map[int]int{2: 200, 4 << 10: 200, 4<<10 + 1: 413, 1 << 20: 413} {
		for _, path := range []string{"/api/v1/calls", "/api/v1/exports/calls?format=ndjson"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL+path,
				strings.NewReader(strings.Repeat("x", size)))
			noError(t, err)
			request.Header.Set("X-Api-Key", b.secret)
			response, err := b.Client().Do(request)
			noError(t, err)
			_, err = io.Copy(io.Discard, response.Body)
			noError(t, err)
			noError(t, response.Body.Close())
			if response.StatusCode != want {
				t.Errorf("%s with a body of %d bytes: got %d, want %d", path, size, response.StatusCode, want)
			}
		}
	}
}

// lateStore is a store whose reads take a while.
type lateStore struct {
	*warehouse.Warehouse
	late time.Duration
}

// wait returns after the delay, or with the error of a request that has ended.
func (s lateStore) wait(ctx context.Context) error {
	select {
	case <-time.After(s.late): // this time must pass
		return nil
	case <-ctx.Done():
		return fmt.Errorf("read late: %w", context.Cause(ctx))
	}
}

func (s lateStore) ReadSnapshot(ctx context.Context, tenant uuid.UUID) (*warehouse.Snapshot, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Warehouse.ReadSnapshot(ctx, tenant)
}

func (s lateStore) Snapshot(ctx context.Context, tenant uuid.UUID) (*warehouse.Snapshot, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Warehouse.Snapshot(ctx, tenant)
}

var _ exports.Source = lateStore{}

// The time in which a request must arrive does not bound the time in which it is answered.
func TestReadTimeout_DoesNotEndRequestsThatRun(t *testing.T) {
	t.Parallel()
	const readTimeout = time.Second // a request arrives in this time on a busy machine
	b := startSQL(t)
	handler := httpapi.New(httpapi.Options{Store: lateStore{b.warehouse, 2 * readTimeout}, CursorKey: []byte("x"),
		FileKey: []byte("x"), Log: slog.New(slog.DiscardHandler)})
	for _, test := range []struct {
		handler            http.Handler
		method, path, body string
		want               int
	}{
		{handler, "GET", "/api/v1/analytics/costs", "", 200},
		{handler, "GET", "/api/v1/analytics/costs", "ignored", 200},
		{handler, "GET", "/api/v1/analytics/transcripts/search?q=hi", "", 200},
		{handler, "GET", "/api/v1/exports/calls?format=ndjson", "", 200},
		{handler, "GET", "/api/v1/exports/calls?format=ndjson", "ignored", 200},
		// The statement runs for twice the read timeout and then ends by its own.
		{b.Config.Handler, "POST", "/api/v1/query", strings.Replace(endless, "600000", "2000", 1), 504},
	} {
		name := fmt.Sprintf("%s %s %t", test.method, strings.TrimPrefix(test.path, "/api/v1/"), test.body != "")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(test.handler)
			server.Config.ReadTimeout = readTimeout
			server.Start()
			defer server.Close()
			conn := rawRequest(t, server.Listener.Addr().String(), fmt.Sprintf(
				"%s %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nConnection: close\r\nContent-Type: "+
					"application/json\r\nContent-Length: %d\r\n\r\n%s",
				test.method, test.path, b.secret, len(test.body), test.body))
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.HasPrefix(string(answer), fmt.Sprintf("HTTP/1.1 %d ", test.want)) {
				t.Errorf("%s %s: got %.60q and %v, want status %d", test.method, test.path, answer, err, test.want)
			}
		})
	}
}
