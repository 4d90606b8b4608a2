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

// withKey checks the request's key, that the key may ask now, and that there is room, before h sees the request. When the
// key is revoked or expires meanwhile, the request ends.
func (a *api) withKey(h keyed) handler { return a.admitted(a.authenticate, a.limited, h) }

// admitted is withKey with ways of its own to find the key, and to count the request.
func (a *api) admitted(authenticate func(*http.Request) (warehouse.Key, context.Context, error), limited func(http.ResponseWriter, *http.Request, warehouse.Key) error, h keyed) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		x := exchangeOf(r)
		key, valid, err := authenticate(r)
		if key.ID != uuid.Nil {
			x.key = &key
		}
		if err != nil {
			return err
		}
		if err := limited(w, r, key); err != nil {
			return err
		}
		if a.room != nil {
			select {
			case a.room <- struct{}{}:
				defer func() { <-a.room }()
			default:
				return &problem{status: http.StatusServiceUnavailable, code: "SERVER_BUSY", message: "The server has too much to do", retryAfter: 1}
			}
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer whenEnded(valid, func() {
			cancel(context.Cause(valid))
			if x.begun.Load() { // a write may be waiting for the client: it ends, and the connection with it
				_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Unix(1, 0)) // where there is none to set, nothing waits
			}
		})()
		err = h(w, r.WithContext(ctx), key)
		if ended := context.Cause(valid); err != nil && ended != nil {
			return ended // the error is only what came of it
		}
		return err
	}
}

// secret lets only secret keys through to h: public ones read the six documented endpoints and nothing else.
func secret(h keyed) keyed {
	return func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
		if key.Type != warehouse.Secret {
			return &problem{status: http.StatusForbidden, code: "SECRET_KEY_REQUIRED", message: "This endpoint needs a secret key (sk_)"}
		}
		return h(w, r, key)
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

func (a *api) trusted(address netip.Addr) bool {
	return slices.ContainsFunc(a.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// cross lets web pages of other origins in as far as keys allow it: a public key names the origins that it may be used from.
// A preflight comes without the key; it is let through if any key names its origin.
func (a *api) cross(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		AllowedHeaders: []string{"X-Api-Key", "X-Request-Id", "If-None-Match", "Accept"},
		ExposedHeaders: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy", "Retry-After",
			"Link", "ETag", "X-Request-Id", "X-API-Version"},
		MaxAge:             600,
		OptionsPassthrough: true, // to the route, which knows what it allows
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			if r.Method == http.MethodOptions {
				return a.Store.OriginKnown(origin), nil
			}
			key, _, err := a.Store.Authenticate(r.Header.Get("X-Api-Key"))
			return err == nil && key.AllowsOrigin(origin), nil
		},
	}).Handler(next)
}
