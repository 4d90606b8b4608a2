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

// keyed is a handler that a key has been checked for.
type keyed func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error

// access is what a route requires of a request.
type access struct {
	secret bool // the route refuses public keys: these read the six documented endpoints and nothing else
	work   Work // whose slot the request holds; "": the handler acquires its own
	// authenticate finds the request's key and limited counts the request; nil: the API's own.
	authenticate func(*http.Request) (warehouse.Key, context.Context, error)
	limited      func(http.ResponseWriter, *http.Request, warehouse.Key) error
}

// withKey serves a route of the documented API, for any key.
func (a *api) withKey(h keyed) handler { return a.admitted(access{work: Requests}, h) }

// withSecret serves a route for secret keys, which holds a slot of the work.
func (a *api) withSecret(work Work, h keyed) handler {
	return a.admitted(access{secret: true, work: work}, h)
}

// admitted checks the request's key, counts the request and waits for a slot, in this order, before h sees the request: a request without a
// valid key takes no slot. If the key is revoked or expires meanwhile, the request ends.
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
		a.crossOrigin(w, r) // only now: without a valid key, the headers are the same for every key and origin
		if authenticated(r.Context(), key.Tenant) {
			w.Header().Set("Connection", "close")
		}
		if err := limited(w, r, key); err != nil {
			return err
		}
		if needs.secret && key.Type != warehouse.Secret {
			return &problem{status: http.StatusForbidden, code: "SECRET_KEY_REQUIRED", message: "This endpoint needs a secret key (sk_)"}
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer whenEnded(valid, func() {
			cancel(context.Cause(valid))
			if x.begun.Load() { // a write may be waiting for the client: it ends, and the connection with it
				_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0)) // where there is none to set, nothing waits
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
			return ended // the error is only what came of it
		}
		return err
	}
}

// whenEnded calls f when the context ends, unless stop was called before; where f is running, stop waits for it. What f does to
// a response must not be done to one whose handler has returned.
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

func (a *api) authenticate(r *http.Request) (key warehouse.Key, valid context.Context, err error) {
	presented := r.Header.Get("X-Api-Key")
	if presented == "" {
		return key, nil, &problem{status: http.StatusUnauthorized, code: "MISSING_API_KEY", message: "No x-api-key header provided"}
	}
	key, valid, err = a.Store.Authenticate(presented)
	if errors.Is(err, warehouse.ErrInvalidKey) && len(a.GuessRules) > 0 {
		// A good key is let through wherever it comes from: others may share the address of one who guesses.
		d, tooMany := a.Guesses.Take(r.Context(), guesser(a.clientAddress(r)), a.GuessRules)
		if tooMany == nil && !d.Allowed {
			err = &problem{status: http.StatusTooManyRequests, code: "RATE_LIMIT_EXCEEDED", retryAfter: max(seconds(d.Wait), 1), message: "Too many unknown API keys from this address."}
		}
	}
	return key, valid, err
}

// guesser names who is behind an address: whoever has one address of version 6 has its whole /64.
func guesser(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// clientAddress is where a request comes from: the peer, or, where that is a trusted proxy, the last address in
// X-Forwarded-For that is none. What stands before that was written by the client, and may be anything.
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

// contains reports whether one of the networks has the address.
func contains(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(address) })
}

// crossOrigin sets the headers for web pages of other origins, and the status of a preflight.
func (a *api) crossOrigin(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Vary") // it is set again
	a.cors.HandlerFunc(w, r)
}

// newCORS returns the rules for web pages of other origins. A public key names the origins that it may be used from; only the answer to a
// request with that key says so. A preflight comes without the key, so every origin gets the same answer: it allows the browser to send the
// request, and not to read the answer.
func newCORS() *cors.Cors {
	return cors.New(cors.Options{
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		AllowedHeaders: []string{"X-Api-Key", "X-Request-Id", "If-None-Match", "Accept"},
		ExposedHeaders: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy", "Retry-After",
			"Link", "ETag", "X-Request-Id", "X-API-Version"},
		MaxAge: 600,
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			x := exchangeOf(r)
			return r.Method == http.MethodOptions || x.authentic && x.key.AllowsOrigin(origin), nil
		},
	})
}
