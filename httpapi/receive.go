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

	"github.com/google/uuid"
)

// minBody is the minimum number of bytes of a body per stallTimeout: 6.4 KB/s. Mobile networks are faster. A
// slower client is cut off, so that it does not keep the slots of its tenant.
const minBody = 192 << 10

// stallTimeout bounds the wait for the next bytes of a body, and is the window of minBody. Tests shorten it.
var stallTimeout = 30 * time.Second

// headSize is the number of bytes of a push that must have arrived, unless the body is shorter, before the push
// takes a slot of [Pushes]. So a slow client with a small push never holds one.
const headSize = 256 << 10

// idempotencyKeys holds the idempotency keys of the pushes in progress.
type idempotencyKeys struct {
	mu    sync.Mutex
	inUse map[string]bool // by tenant and key; guarded by mu
}

func newIdempotencyKeys() idempotencyKeys { return idempotencyKeys{inUse: map[string]bool{}} }

// enter marks the key as in use until leave is called, or returns IDEMPOTENCY_KEY_IN_USE if it is. An empty name
// is never in use.
func (k *idempotencyKeys) enter(tenant uuid.UUID, name string) (leave func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	full := tenant.String() + " " + name
	if k.inUse[full] {
		return nil, &problem{status: http.StatusConflict, code: "IDEMPOTENCY_KEY_IN_USE",
			message: "A push with this Idempotency-Key is under way"}
	}
	k.inUse[full] = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.inUse, full)
	}, nil
}

// pushBody reads the body of a push. It bounds the size, computes the digest, and requires a minimum pace. If a
// read fails, it cancels the context of the push with the reason, because an incomplete body must not be merged to
// its end as if it were whole.
type pushBody struct {
	exchange   *exchange
	in         io.Reader
	controller *http.ResponseController
	cancel     context.CancelCauseFunc
	tooLarge   *problem
	most       int64 // bytes
	digest     hash.Hash
	received   int64 // bytes
	pace       pace
	head       bytes.Buffer // received and not yet returned by Read

	mu    sync.Mutex // guards the fields below
	ended bool       // the context is done; reads fail
	fault error      // error of the client, for the response
}

// receive returns the body of the request as a pushBody, and a context that is cancelled when the body cannot be
// read to its end. The caller calls done when it no longer needs both.
func (a *api) receive(w http.ResponseWriter, r *http.Request) (_ *pushBody, _ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &pushBody{
		exchange: exchangeOf(r), in: r.Body, controller: http.NewResponseController(w), cancel: cancel,
		tooLarge: a.bodyTooLarge(), most: a.MaxBody, digest: sha256.New(),
		pace: pace{bytes: minBody, per: stallTimeout},
	}
	stop := whenEnded(ctx, func() { // key revoked or server stopping: end a read that waits for the client
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = true
		b.exchange.impatient.Store(true)
		_ = b.controller.SetReadDeadline(time.Unix(1, 0)) // fails only if reads never block
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
		_ = b.controller.SetReadDeadline(until)
	}
	return !b.ended
}

// errGone is the error of a request whose client closed the connection before the body was complete.
var errGone = errors.New("the client has left")

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
	until := start.Add(b.pace.left())
	if !b.wait(until) {
		return 0, errGone
	}
	n, err := b.in.Read(p)
	b.wait(time.Time{})
	b.pace.move(int64(n), time.Since(start))
	b.received += int64(n)
	b.digest.Write(p[:n])
	switch {
	case b.received > b.most:
		err = b.tooLarge
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(until):
		b.exchange.impatient.Store(true)
		err = &problem{status: http.StatusRequestTimeout, code: "REQUEST_TIMEOUT", outcome: noRows,
			message: fmt.Sprintf("The body came too slowly: less than %d bytes in %v", minBody, stallTimeout)}
	default:
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	b.fail(err)
	return 0, err
}

// fail cancels the context of the push with err. After a failed read, net/http has already cancelled the context
// of the request without a reason, so fault keeps an error of the client.
func (b *pushBody) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(err, errGone) {
		b.fault = err
	}
	b.cancel(err)
}

// why returns the reason why the push was cancelled, or nil if it was not.
func (b *pushBody) why(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		return b.fault
	}
	return context.Cause(ctx)
}

// maxUnusedBody bounds the body of a request whose method has none, in bytes.
const maxUnusedBody = 4 << 10

// withoutBody returns a handler for methods without a body. If a client sends one, the handler reads it to its end before the request
// takes a slot, and ignores it. Otherwise net/http would read it before it sends the head of the answer: a client that sends less than it
// declares would keep the request's slot, and the server would not notice that the client leaves. When the body has ended, net/http
// removes the read deadline, so requests that run longer than the deadline are not affected.
func withoutBody(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.ContentLength == 0 {
			return h(w, r)
		}
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(stallTimeout)) // without a connection, the body is at hand
		n, err := io.Copy(io.Discard, io.LimitReader(r.Body, maxUnusedBody+1))
		switch {
		case n > maxUnusedBody:
			return &problem{status: http.StatusRequestEntityTooLarge, code: "PAYLOAD_TOO_LARGE",
				message: fmt.Sprintf("This method has no body; one of more than %d bytes is refused", maxUnusedBody)}
		case errors.Is(err, os.ErrDeadlineExceeded):
			exchangeOf(r).impatient.Store(true)
			return &problem{status: http.StatusRequestTimeout, code: "REQUEST_TIMEOUT",
				message: fmt.Sprintf("The body did not arrive in %v", stallTimeout)}
		case err != nil:
			return fmt.Errorf("%w: %w", errGone, err)
		}
		return h(w, r)
	}
}
