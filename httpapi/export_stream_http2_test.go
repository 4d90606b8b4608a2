package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// overHTTP2 serves the API over HTTP/2, and sends the cause of the end of each response to ended.
func (b *bulk) overHTTP2(t *testing.T, handler http.Handler) (ended chan any) {
	t.Helper()
	handler, ended = watched(handler)
	server := smallBuffers(httptest.NewUnstartedServer(handler))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	server.Client().Transport.(*http.Transport).HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: bufferBytes}
	b.Server = server
	return ended
}

// begin requests a stream and reads its beginning. rest is the remaining body; leave resets the stream.
func (b *bulk) begin(t *testing.T, target string) (rest io.Reader, leave func()) {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	t.Cleanup(leave)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.URL+"/api/v1/exports/"+target, nil)
	noError(t, err)
	request.Header.Set("X-Api-Key", b.secret)
	response, err := b.Client().Do(request)
	noError(t, err)
	t.Cleanup(func() { response.Body.Close() })
	if response.ProtoMajor != 2 || response.StatusCode != http.StatusOK {
		t.Fatal(response.Proto, response.Status)
	}
	_, err = io.ReadFull(response.Body, make([]byte, 1000))
	noError(t, err)
	return response.Body, leave
}

func wantAborted(t *testing.T, what string, cause any) {
	t.Helper()
	if err, _ := cause.(error); !errors.Is(err, http.ErrAbortHandler) {
		t.Errorf("%s ended with %v", what, cause)
	}
}

// Over HTTP/2 each format comes whole; a stream that is reset by its client ends with its query, and those beside it on
// the connection go on.
func TestStreams_HTTP2(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	targets := []string{"calls?format=parquet", "calls?format=arrow", "calls?format=csv", "calls?format=ndjson"}
	ended := b.overHTTP2(t, b.Config.Handler)
	for _, target := range targets {
		got := b.stream(t, target, "Accept-Encoding", "zstd")
		kind, _, _ := strings.Cut(got.header.Get("Content-Type"), ";")
		if rows, err := counts[kind](got.body); err != nil || rows != 60 {
			t.Errorf("%s: %d rows, %v", target, rows, err)
		}
		if cause := <-ended; cause != nil {
			t.Errorf("%s ended with %v", target, cause)
		}
	}
	b.fill(t, filled)
	for _, target := range targets {
		stays, _ := b.begin(t, target)
		_, leave := b.begin(t, target)
		leave()
		wantAborted(t, target+", which was reset,", <-ended)
		_, leave = b.begin(t, target) // there is room for it again
		leave()
		wantAborted(t, target+", which was reset,", <-ended)
		size, err := io.Copy(io.Discard, stays)
		if cause := <-ended; err != nil || cause != nil || size < filled*noiseBytes {
			t.Errorf("%s, which stayed, has %d bytes and ended with %v, %v", target, size, err, cause)
		}
	}
}

// hurried shortens the write deadlines of the API.
type hurried struct{ http.ResponseWriter }

func (h hurried) SetWriteDeadline(until time.Time) error {
	if soon := time.Now().Add(time.Second); until.After(soon) {
		until = soon
	}
	return http.NewResponseController(h.ResponseWriter).SetWriteDeadline(until)
}

func (h hurried) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// A stream of HTTP/2 whose client does not read ends by its deadline: its connection is alive, and the kernel sees
// nothing that stalls. One whose key is revoked ends, too. Neither has a proper end.
func TestStreams_HTTP2StalledReadersAreDisconnected(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	b.fill(t, filled)
	patient := b.Config.Handler
	ended := b.overHTTP2(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.RawQuery, "&from=") {
			w = hurried{w}
		}
		patient.ServeHTTP(w, r)
	}))
	broken := func(what string, rest io.Reader) {
		t.Helper()
		if size, err := io.Copy(io.Discard, rest); err == nil {
			t.Errorf("%s ended well, with %d bytes", what, size)
		}
	}
	for _, format := range []string{"parquet", "arrow", "csv", "ndjson"} {
		stalls, _ := b.begin(t, "calls?format="+format+"&from=")
		beside := b.stream(t, "customers?format=ndjson") // on the same connection
		first, second := <-ended, <-ended
		if first != nil {
			first, second = second, first
		}
		if first != nil || beside.status != http.StatusOK || strings.Count(beside.body, "\n") != 2 {
			t.Errorf("beside a stream that stalls: %v, %v", beside, first)
		}
		wantAborted(t, "a stream as "+format+" that nobody takes", second)
		broken("a stream as "+format+" that nobody takes", stalls)
	}
	last, _ := b.begin(t, "calls?format=csv")
	_, err := b.warehouse.RevokeKey(t.Context(), b.id)
	noError(t, err)
	wantAborted(t, "a stream whose key was revoked", <-ended)
	broken("a stream whose key was revoked", last)
}
