package httpapi

import (
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

	"github.com/voicory/warehouse/warehouse"
)

const (
	// Pushes at a time, of a key and in all: each holds a batch of rows in memory, or a file on the disk.
	maxPushesOfKey = 2
	maxPushes      = 4
	// slowestBody is the bytes of a body for which a second may be waited, beyond stallTimeout: one that trickles cannot keep others out.
	slowestBody = 4 << 10
)

// stallTimeout is how long a body that does not flow is waited for; tests have less time.
var stallTimeout = 30 * time.Second

// pushGate lets so many pushes in, and of one idempotency key of a tenant only one.
type pushGate struct {
	mu    sync.Mutex
	all   int
	keys  map[uuid.UUID]int
	names map[string]bool
}

func newPushGate() pushGate { return pushGate{keys: map[uuid.UUID]int{}, names: map[string]bool{}} }

// enter lets a push of the key in; it is over when leave is called. name is its idempotency key, empty: none.
func (g *pushGate) enter(key warehouse.Key, name string) (leave func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	full := key.Tenant.String() + " " + name
	switch {
	case name != "" && g.names[full]:
		return nil, &problem{status: http.StatusConflict, code: "IDEMPOTENCY_KEY_IN_USE", message: "A push with this Idempotency-Key is under way"}
	case g.keys[key.ID] >= maxPushesOfKey:
		return nil, &problem{status: http.StatusTooManyRequests, code: "RATE_LIMIT_EXCEEDED", retryAfter: 1,
			message: fmt.Sprintf("Rate limit exceeded. Maximum %d pushes at a time.", maxPushesOfKey)}
	case g.all >= maxPushes:
		return nil, &problem{status: http.StatusServiceUnavailable, code: "SERVER_BUSY", retryAfter: 1, message: "The server takes in as many pushes as it can"}
	}
	g.all++
	g.keys[key.ID]++
	if name != "" {
		g.names[full] = true
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.all--
		if g.keys[key.ID]--; g.keys[key.ID] == 0 {
			delete(g.keys, key.ID)
		}
		if name != "" {
			delete(g.names, full)
		}
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
	waited     time.Duration // for the client, in all

	mu    sync.Mutex
	ended bool  // nothing is waited for any more
	fault error // what to tell the client that it did wrong
}

// receive begins to read the request's body. The context ends when the body cannot be read on; done ends both.
func (a *api) receive(w http.ResponseWriter, r *http.Request) (_ *pushBody, _ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(r.Context())
	b := &pushBody{exchange: exchangeOf(r), in: r.Body, controller: http.NewResponseController(w), cancel: cancel, tooLarge: a.bodyTooLarge(), most: a.MaxBody, digest: sha256.New()}
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

// patience is how long the next bytes may take.
func (b *pushBody) patience() time.Duration {
	return min(stallTimeout, stallTimeout+time.Duration(b.received/slowestBody)*time.Second-b.waited)
}

// errGone is that of a client that left midway.
var errGone = errors.New("the client has left")

func (b *pushBody) Read(p []byte) (int, error) {
	start := time.Now()
	until := start.Add(b.patience())
	if !b.wait(until) {
		return 0, errGone
	}
	n, err := b.in.Read(p)
	b.wait(time.Time{})
	b.waited += time.Since(start)
	b.received += int64(n)
	b.digest.Write(p[:n])
	switch {
	case b.received > b.most:
		err = b.tooLarge
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(until):
		b.exchange.impatient.Store(true)
		err = &problem{status: http.StatusRequestTimeout, code: "REQUEST_TIMEOUT", message: "The body came too slowly", outcome: noRows}
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
