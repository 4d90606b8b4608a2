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

// minBody is the number of bytes of a body that must arrive in each stallTimeout: 6.4 KB/s. Mobile networks are faster, and a client that
// trickles cannot keep the slots of its tenant.
const minBody = 192 << 10

// stallTimeout bounds the wait for a body that does not flow, and is the window of minBody; tests shorten it.
var stallTimeout = 30 * time.Second

// headSize is the number of bytes of a push that must have arrived, unless it is shorter, before it takes a slot. Small pushes arrive whole, so a
// client that trickles one holds no slot.
const headSize = 256 << 10

// idempotencyKeys are the keys of the pushes under way, each of its tenant.
type idempotencyKeys struct {
	mu    sync.Mutex
	inUse map[string]bool
}

func newIdempotencyKeys() idempotencyKeys { return idempotencyKeys{inUse: map[string]bool{}} }

// enter notes that a push with the key begins, until leave is called. name may be empty: then there is nothing to note.
func (k *idempotencyKeys) enter(tenant uuid.UUID, name string) (leave func(), err error) {
	if name == "" {
		return func() {}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	full := tenant.String() + " " + name
	if k.inUse[full] {
		return nil, &problem{status: http.StatusConflict, code: "IDEMPOTENCY_KEY_IN_USE", message: "A push with this Idempotency-Key is under way"}
	}
	k.inUse[full] = true
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.inUse, full)
	}, nil
}

// pushBody is the body of a push as it comes in: bounded, digested, and given time as long as it flows. When reading fails, the
// work on it is cancelled with the reason: a half-received body is not the client's last word.
type pushBody struct {
	exchange   *exchange
	in         io.Reader
	controller *http.ResponseController
	cancel     context.CancelCauseFunc
	tooLarge   *problem
	most       int64
	digest     hash.Hash
	received   int64
	pace       pace
	head       bytes.Buffer // received and not yet read

	mu    sync.Mutex
	ended bool  // nothing is waited for any more
	fault error // what to tell the client that it did wrong
}

// receive begins to read the request's body. The context ends when the body cannot be read on; done ends both.
func (a *api) receive(w http.ResponseWriter, r *http.Request) (_ *pushBody, _ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &pushBody{exchange: exchangeOf(r), in: r.Body, controller: http.NewResponseController(w), cancel: cancel, tooLarge: a.bodyTooLarge(), most: a.MaxBody, digest: sha256.New(), pace: pace{bytes: minBody, per: stallTimeout}}
	stop := whenEnded(ctx, func() { // a key that was revoked, a server that stops: whoever waits for the client waits no more
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ended = true
		b.exchange.impatient.Store(true)
		_ = b.controller.SetReadDeadline(time.Unix(1, 0)) // where there is none to set, the body is at hand
	})
	return b, ctx, func() {
		stop()
		cancel(nil)
	}
}

// wait bounds how long the client is waited for; zero: not at all, as while nobody reads.
func (b *pushBody) wait(until time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		_ = b.controller.SetReadDeadline(until)
	}
	return !b.ended
}

// errGone is that of a client that left midway.
var errGone = errors.New("the client has left")

// fillHead receives the beginning of the body, or all of a short one.
func (b *pushBody) fillHead() error {
	_, err := io.CopyN(&b.head, readerFunc(b.receive), headSize)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func (b *pushBody) Read(p []byte) (int, error) {
	if b.head.Len() > 0 {
		return b.head.Read(p)
	}
	b.head = bytes.Buffer{} // its memory is not needed while the rest is received
	return b.receive(p)
}

// receive reads from the client, which must keep the pace.
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
		err = &problem{status: http.StatusRequestTimeout, code: "REQUEST_TIMEOUT", message: fmt.Sprintf("The body came too slowly: less than %d bytes in %v", minBody, stallTimeout), outcome: noRows}
	default:
		err = fmt.Errorf("%w: %w", errGone, err)
	}
	b.fail(err)
	return 0, err
}

// fail ends the work on the body. Where reading failed, net/http has cancelled it already, without the reason.
func (b *pushBody) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(err, errGone) {
		b.fault = err
	}
	b.cancel(err)
}

// why is the reason for which the work on the body ended before its end; nil: it did not.
func (b *pushBody) why(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		return b.fault
	}
	return context.Cause(ctx)
}
