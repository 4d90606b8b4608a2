package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/cors"

	"github.com/voicory/warehouse/warehouse"
)

// keyed is a handler for a request with an authenticated key.
type keyed func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error

// access holds the requirements of a route.
type access struct {
	secret bool // refuse public keys, which may only read the lists and details of the datasets
	work   Work // kind of slot that the request holds; "": the handler acquires its own
	// authenticate returns the key of the request, and limited applies the rate limits; nil: [api.authenticate]
	// and [api.limited].
	authenticate func(*http.Request) (warehouse.Key, context.Context, error)
	limited      func(http.ResponseWriter, *http.Request, warehouse.Key) error
}

// withKey returns a handler that requires a valid key of any type and holds a [Requests] slot.
func (a *api) withKey(h keyed) handler { return a.admitted(access{work: Requests}, h) }

// withSecret returns a handler that requires a valid secret key and holds a slot of the work.
func (a *api) withSecret(work Work, h keyed) handler {
	return a.admitted(access{secret: true, work: work}, h)
}

// admitted returns a handler that authenticates the request, applies the rate limits, acquires a slot, and calls
// h, in this order. So a request without a valid key takes no slot. If the key is revoked or expires while h runs,
// the context of the request is cancelled.
func (a *api) admitted(needs access, h keyed) handler {
	authenticate, limited := needs.authenticate, needs.limited
	if authenticate == nil {
		authenticate = a.authenticate
	}
	if limited == nil {
		limited = a.limited
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		x := exchangeOf(r)
		key, valid, err := authenticate(r)
		if err == nil || key.ID != uuid.Nil {
			x.key = &key
		}
		x.authentic = err == nil
		if err != nil {
			return err
		}
		a.crossOrigin(w, r) // after authentication: without a valid key, no origin is allowed
		if authenticated(r.Context(), key.Tenant) {
			w.Header().Set("Connection", "close")
		}
		if err := limited(w, r, key); err != nil {
			return err
		}
		if needs.secret && key.Type != warehouse.Secret {
			return &problem{status: http.StatusForbidden, code: "SECRET_KEY_REQUIRED",
				message: "This endpoint needs a secret key (sk_)"}
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer whenEnded(valid, func() {
			cancel(context.Cause(valid))
			if x.begun.Load() {
				// A write may be blocked on the client. The deadline ends it and closes the connection. A
				// response writer without deadlines never blocks, so its error is ignored.
				_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0))
			}
		})()
		if needs.work != "" {
			release, err := a.acquire(ctx, needs.work, key)
			if err != nil {
				return err
			}
			defer release()
			x.hold(a, key, release)
		}
		err = h(w, r.WithContext(ctx), key)
		if ended := context.Cause(valid); err != nil && ended != nil {
			return ended // the cause of err
		}
		return err
	}
}

// whenEnded calls f in a new goroutine when ctx is done. After stop has returned, f is not running and will not be
// called. So f never changes a response whose handler has returned.
func whenEnded(ctx context.Context, f func()) (stop func()) {
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

// authenticate returns the key in the X-Api-Key header, with the results of [Store.Authenticate]. It limits the
// requests with unknown keys from one client address.
func (a *api) authenticate(r *http.Request) (key warehouse.Key, valid context.Context, err error) {
	presented := r.Header.Get("X-Api-Key")
	if presented == "" {
		return key, nil, &problem{status: http.StatusUnauthorized, code: "MISSING_API_KEY",
			message: "No x-api-key header provided"}
	}
	key, valid, err = a.Store.Authenticate(presented)
	if errors.Is(err, warehouse.ErrInvalidKey) && len(a.GuessRules) > 0 {
		// A valid key is not affected: clients may share an address with one that guesses keys.
		d, tooMany := a.Guesses.Take(r.Context(), guesser(a.clientAddress(r)), a.GuessRules)
		if tooMany == nil && !d.Allowed {
			err = &problem{status: http.StatusTooManyRequests, code: "RATE_LIMIT_EXCEEDED",
				retryAfter: max(seconds(d.Wait), 1), message: "Too many unknown API keys from this address."}
		}
	}
	return key, valid, err
}

// guesser returns the address as a key for limits. An IPv6 address is reduced to its /64 prefix, because one
// client usually has the whole prefix.
func guesser(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// clientAddress returns the address of the client. This is the peer of the connection, or, if the peer is a
// trusted proxy, the last address in X-Forwarded-For that is not a trusted proxy. The client itself may have
// written the entries before that one, so they are ignored.
func (a *api) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	address := peer.Addr().Unmap()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && a.trusted(address); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		address = hop.Unmap()
	}
	return address
}

func (a *api) trusted(address netip.Addr) bool { return contains(a.TrustedProxies, address) }

// contains reports whether one of the networks contains the address.
func contains(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

// crossOrigin sets the CORS headers, and answers a preflight request.
func (a *api) crossOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Vary") // the CORS handler sets it again
	a.cors.HandlerFunc(w, r)
}

// newCORS returns the CORS rules. A public key lists the origins that may use it. Only the response to a request
// with that key allows its origins. A preflight request comes without the key, so it gets the same response for
// every origin: it allows the browser to send the request, but not to read the response.
func newCORS() *cors.Cors {
	return cors.New(cors.Options{
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		AllowedHeaders: []string{"X-Api-Key", "X-Request-Id", "If-None-Match", "Accept"},
		ExposedHeaders: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit",
			"RateLimit-Policy", "Retry-After", "Link", "ETag", "X-Request-Id", "X-API-Version"},
		MaxAge: 600,
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			x := exchangeOf(r)
			return r.Method == http.MethodOptions || x.authentic && x.key.AllowsOrigin(origin), nil
		},
	})
}
