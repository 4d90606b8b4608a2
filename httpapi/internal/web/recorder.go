package web

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ResponseRecorder is an http.ResponseWriter that records the response for the log and the metrics.
type ResponseRecorder struct {
	http.ResponseWriter
	Status int   // 0: no header has been sent
	Bytes  int64 // sent bytes of the body
	Head   bool  // HEAD request: net/http discards the body

	begun atomic.Bool // the first byte of the response has been written or is about to be
	end   *endByClose // nil: the end of the response is marked in the response
	conn  net.Conn    // of an HTTP/1.0 request; nil: not known, or a later protocol
}

// NewResponseRecorder returns a recorder of the response to r that is written to w.
func NewResponseRecorder(w http.ResponseWriter, r *http.Request) *ResponseRecorder {
	rec := &ResponseRecorder{ResponseWriter: w, Head: r.Method == http.MethodHead}
	if !r.ProtoAtLeast(1, 1) {
		rec.conn = connOf(r.Context())
	}
	return rec
}

// WriteHeader sends the header with the status.
func (rec *ResponseRecorder) WriteHeader(status int) {
	rec.begun.Store(true)
	if rec.Status == 0 {
		rec.Status = status
		if rec.conn != nil && !rec.Head && rec.Header().Get("Content-Length") == "" {
			rec.end = beginEndByClose(rec.conn)
		}
	}
	rec.ResponseWriter.WriteHeader(status)
}

// Write sends p, after the header.
func (rec *ResponseRecorder) Write(p []byte) (int, error) {
	if rec.Status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	n, err := rec.ResponseWriter.Write(p)
	if !rec.Head {
		rec.Bytes += int64(n)
	}
	return n, err
}

// ReadFrom copies src to the client, without copying through this process (sendfile) if the connection supports
// that.
func (rec *ResponseRecorder) ReadFrom(src io.Reader) (int64, error) {
	if rec.Status == 0 {
		rec.WriteHeader(http.StatusOK)
	}
	n, err := io.Copy(rec.ResponseWriter, src)
	if !rec.Head {
		rec.Bytes += n
	}
	return n, err
}

// Unwrap returns the underlying writer for http.ResponseController.
func (rec *ResponseRecorder) Unwrap() http.ResponseWriter { return rec.ResponseWriter }

// Complete declares the response complete. The middleware calls it after the handler has returned without a panic.
func (rec *ResponseRecorder) Complete() {
	if rec.end != nil && http.NewResponseController(rec.ResponseWriter).Flush() == nil {
		rec.end.complete()
	}
}

// Abort ends a response that is not complete, so that no client takes it for complete. It panics with
// http.ErrAbortHandler, for which net/http closes the connection or resets the stream of HTTP/2.
func (rec *ResponseRecorder) Abort() {
	if rec.end != nil {
		rec.end.abort()
	}
	panic(http.ErrAbortHandler)
}

// Begun reports whether a response has been written or is about to be.
func (rec *ResponseRecorder) Begun() bool { return rec.begun.Load() }

// Begin marks the response as begun. It returns the cause if ctx is done; the response has then not begun. If
// patience is not 0, Begin sets the write deadline to patience from now.
//
// Begin marks the response before it checks ctx. A revocation cancels ctx first and then calls Begun, so at least
// one side sees the other.
func (rec *ResponseRecorder) Begin(ctx context.Context, patience time.Duration) error {
	if patience != 0 {
		SetWriteDeadline(rec.ResponseWriter, time.Now().Add(patience))
	}
	rec.begun.Store(true)
	if err := context.Cause(ctx); err != nil {
		rec.begun.Store(rec.Status != 0)
		return err
	}
	return nil
}

// Discard marks the response as not begun, after a handler wrote nothing.
func (rec *ResponseRecorder) Discard() { rec.begun.Store(false) }

// SetWriteDeadline sets the write deadline of the connection; zero removes it. A response writer without deadlines
// never blocks, so its error is ignored.
func SetWriteDeadline(w http.ResponseWriter, until time.Time) {
	_ = http.NewResponseController(w).SetWriteDeadline(until)
}

// SetReadDeadline sets the read deadline of the connection; zero removes it. Without a connection, the body is in
// memory, so the error is ignored.
func SetReadDeadline(w http.ResponseWriter, until time.Time) {
	_ = http.NewResponseController(w).SetReadDeadline(until)
}

// AfterDone calls f in a new goroutine when ctx is done. After stop has returned, f is not running and will not be
// called. So f never changes a response whose handler has returned.
func AfterDone(ctx context.Context, f func()) (stop func()) {
	var mu sync.Mutex
	over := false
	cancel := context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if !over {
			f()
		}
	})
	return func() {
		cancel()
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}
