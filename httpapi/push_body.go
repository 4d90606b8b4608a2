package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
)

// minBody is the minimum number of bytes of a body per stallTimeout: 6.4 KB/s. Mobile networks are faster. A
// slower client is cut off, so that it does not keep the slots of its tenant.
const minBody = 192 << 10

// stallTimeout bounds the wait for the next bytes of a body, and is the window of minBody. Tests shorten it.
var stallTimeout = 30 * time.Second

// headSize is the number of bytes of a push that must have arrived, unless the body is shorter, before the push takes a
// slot of [Pushes]. So a slow client with a small push never holds a slot while its body arrives.
const headSize = 256 << 10

// pushBody reads the body of a push. It bounds the size, computes the digest, and requires a minimum pace. If a
// read fails, it cancels the context of the push with the reason, because an incomplete body must not be merged to
// its end as if it were whole.
type pushBody struct {
	state    *requestState
	in       io.Reader
	writer   http.ResponseWriter
	cancel   context.CancelCauseFunc
	tooLarge *web.Problem
	maxBytes int64
	digest   hash.Hash
	received int64 // bytes
	pace     web.Pace
	head     bytes.Buffer // received and not yet returned by Read

	mu        sync.Mutex // guards the fields below
	ended     bool       // the context is done; reads fail
	clientErr error      // error of the client, for the response
}

// pushBody returns the body of the request as a pushBody, and a context that is cancelled when the body cannot be
// read to its end. The caller calls done when it no longer needs both.
func (a *api) pushBody(w http.ResponseWriter, r *http.Request) (_ *pushBody, _ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &pushBody{
		state: stateOf(r), in: r.Body, writer: w, cancel: cancel,
		tooLarge: a.bodyTooLarge(), maxBytes: a.MaxBody, digest: sha256.New(),
		pace: web.Pace{Bytes: minBody, Per: stallTimeout},
	}
	stop := web.AfterDone(ctx, func() { // key revoked or server stopping: end a read that waits for the client
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = true
		b.state.impatient.Store(true)
		web.SetReadDeadline(b.writer, time.Unix(1, 0))
	})
	return b, ctx, func() {
		stop()
		cancel(nil)
	}
}

// wait sets the read deadline; zero removes it. It reports whether reading may go on, and is false if the context
// is done.
func (b *pushBody) wait(until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		web.SetReadDeadline(b.writer, until)
	}
	return !b.ended
}

// errGone is the error of a request whose client closed the connection before the body was complete.
var errGone = errors.New("the client closed the connection")

// fillHead receives the first headSize bytes of the body, or all of a shorter body.
func (b *pushBody) fillHead() error {
	_, err := io.CopyN(&b.head, readerFunc(b.receive), headSize)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Read returns the bytes received by fillHead, then reads from the client.
func (b *pushBody) Read(p []byte) (int, error) {
	if b.head.Len() > 0 {
		return b.head.Read(p)
	}
	b.head = bytes.Buffer{} // free the memory
	return b.receive(p)
}

// receive reads from the client, which must keep the pace. It also counts and digests the bytes.
func (b *pushBody) receive(p []byte) (int, error) {
	start := time.Now()
	until := start.Add(b.pace.Left())
	if !b.wait(until) {
		return 0, errGone
	}
	n, err := b.in.Read(p)
	b.wait(time.Time{})
	b.pace.Move(int64(n), time.Since(start))
	b.received += int64(n)
	b.digest.Write(p[:n])
	switch {
	case b.received > b.maxBytes:
		err = b.tooLarge
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(until):
		b.state.impatient.Store(true)
		err = &web.Problem{Status: http.StatusRequestTimeout, Code: "REQUEST_TIMEOUT", Outcome: noRows,
			Message: fmt.Sprintf("The body arrived too slowly: less than %d bytes in %v", minBody, stallTimeout)}
	default:
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	b.fail(err)
	return 0, err
}

// fail cancels the context of the push with err. After a failed read, net/http has already cancelled the context
// of the request without a reason, so clientErr keeps an error of the client.
func (b *pushBody) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(err, errGone) {
		b.clientErr = err
	}
	b.cancel(err)
}

// cancelCause returns the reason why the push was cancelled, or nil if it was not.
func (b *pushBody) cancelCause(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clientErr != nil {
		return b.clientErr
	}
	return context.Cause(ctx)
}
