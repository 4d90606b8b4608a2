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
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// pushable is an API whose pushes are merged line by line, and a secret key of mine. The server itself gives a request
// next to no time.
func pushable(t *testing.T, tune ...func(*httpapi.Options)) (a *api, address, key string) {
	t.Helper()
	var w *warehouse.Warehouse
	a = start(t, append(tune, func(o *httpapi.Options) {
		o.MaxBody = 1 << 20
		o.Ingest = func(ctx context.Context, push httpapi.Push) (pushed httpapi.Pushed, err error) {
			body, err := io.ReadAll(push.Body)
			if err != nil {
				return pushed, err
			}
			pushed.Counts, pushed.Refusals, err = w.Merge(ctx, warehouse.Batch{Dataset: push.Dataset, Tenant: push.Tenant,
				Origin: "push", Rows: lines(t, strings.Split(strings.TrimSpace(string(body)), "\n")...)})
			return pushed, err
		}
	})...)
	w = a.warehouse
	_, key, err := w.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{})
	noError(t, err)
	server := httptest.NewUnstartedServer(a.Config.Handler)
	server.Config.ReadTimeout, server.Config.WriteTimeout = time.Second, time.Second
	server.Start()
	t.Cleanup(server.Close)
	return a, server.Listener.Addr().String(), key
}

// begin sends the head of a push.
func beginPush(t *testing.T, address, key string) net.Conn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
	noError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /api/v1/ingest/calls HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: "+
		"%s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", key)
	noError(t, err)
	return conn
}

// A body may take longer than any other request may, as long as it flows.
func TestPush_SlowBody(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	_, address, key := pushable(t, func(o *httpapi.Options) { o.Metrics = registry })
	conn := beginPush(t, address, key)
	pace := time.NewTicker(130 * time.Millisecond) // nine of them exceed the timeouts
	defer pace.Stop()
	row := fmt.Sprintf(`{"id":%q,"created_at":"2026-03-01"}`, id(700))
	for _, letter := range row + "\n{}\n" {
		if letter == ',' || letter == '\n' {
			for range 3 {
				<-pace.C
			}
		}
		_, err := fmt.Fprintf(conn, "1\r\n%c\r\n", letter)
		noError(t, err)
	}
	_, err := io.WriteString(conn, "0\r\n\r\n")
	noError(t, err)
	answer, err := io.ReadAll(conn)
	noError(t, err)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) || !bytes.Contains(answer,
		[]byte(`{"data":{"read":2,"new":1,"changed":0,"unchanged":0,"deleted":0,"superseded":0,"erased":0,"refused":1,"dropped":0,"unknown_fields":[],"refusals":[{"line":2,`)) {
		t.Errorf("%s", answer)
	}
	noError(t, testutil.GatherAndCompare(registry, strings.NewReader(
		`# HELP voicory_pushed_rows_total Rows that clients pushed, by dataset and what became of them.
# TYPE voicory_pushed_rows_total counter
voicory_pushed_rows_total{dataset="calls",outcome="new"} 1
voicory_pushed_rows_total{dataset="calls",outcome="refused"} 1
`), "voicory_pushed_rows_total"))
}

// A body that stops arriving gets 408.
func TestPush_StalledBody(t *testing.T) {
	a, address, key := pushable(t)
	httpapi.WaitNoLongerThan(t, 50*time.Millisecond)
	conn := beginPush(t, address, key)
	_, err := io.WriteString(conn, "1\r\n{\r\n")
	noError(t, err)
	answer, err := io.ReadAll(conn)
	noError(t, err)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 408")) || !bytes.Contains(answer, []byte("REQUEST_TIMEOUT")) {
		t.Errorf("%s", answer)
	}
	if got := a.do(t, http.MethodGet, "/api/v1/calls?limit=1", key); got.status != 200 {
		t.Errorf("afterwards: %d", got.status)
	}
}

// A push that fails for lack of memory gets 503 and can be sent again.
func TestPush_OutOfMemory(t *testing.T) {
	a, _, key := pushable(t)
	full := httptest.NewServer(httpapi.New(httpapi.Options{Store: a.warehouse, Log: slog.New(slog.DiscardHandler),
		Ingest: func(context.Context, httpapi.Push) (httpapi.Pushed, error) {
			return httpapi.Pushed{}, fmt.Errorf("%w: 381 of 381 MiB", warehouse.ErrNoMemory)
		}}))
	defer full.Close()
	a.URL = full.URL
	got := a.do(t, http.MethodPost, "/api/v1/ingest/calls", key, "Content-Type", "text/csv")
	if got.status != 503 || got.header.Get("Retry-After") != "5" || strings.Contains(got.body, "381") {
		t.Errorf("%d %v %s", got.status, got.header, got.body)
	}
}

// The path of pushes answers POST and OPTIONS, and nothing to a page of another origin.
func TestPush_Methods(t *testing.T) {
	t.Parallel()
	a, _, key := pushable(t)
	const path, allowed = "/api/v1/ingest/calls", "POST, OPTIONS"
	if got := a.do(t, http.MethodOptions, path, ""); got.status != 204 || got.header.Get("Allow") != allowed {
		t.Errorf("%d %v", got.status, got.header)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		if got := a.do(t, method, path, key); got.status != 405 || got.header.Get("Allow") != allowed {
			t.Errorf("%s: %d %v", method, got.status, got.header)
		}
	}
	got := a.do(t, http.MethodOptions, path, "", "Origin", "https://app.example.com", "Access-Control-Request-Method",
		"POST")
	if got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", got.header)
	}
	if got := a.do(t, http.MethodPost, path, a.key, "Content-Type", "text/csv"); got.status != 403 {
		t.Errorf("%d %s", got.status, got.body)
	}
}
