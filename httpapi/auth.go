package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// authHandler is a handler for a request with an authenticated key.
type authHandler func(w http.ResponseWriter, r *http.Request, key control.Key) error

// requirements holds the requirements of a route.
type requirements struct {
	secret bool // refuse public keys, which may only read the lists and details of the datasets
	work   Work // kind of slot that the request holds; "": the handler acquires its own
	// authenticate returns the key of the request, and limit applies the rate limits. The defaults are [api.authenticate]
	// and [api.limitRequest].
	authenticate func(*http.Request) (control.Key, context.Context, error)
	limit        func(http.ResponseWriter, *http.Request, control.Key) error
}

// requireKey returns a handler that requires a valid key of any type and holds a [Requests] slot.
func (a *api) requireKey(h authHandler) handler { return a.authorize(requirements{work: Requests}, h) }

// requireSecretKey returns a handler that requires a valid secret key and holds a slot of the work.
func (a *api) requireSecretKey(work Work, h authHandler) handler {
	return a.authorize(requirements{secret: true, work: work}, h)
}

// authorize returns a handler that authenticates the request, applies the rate limits, acquires a slot, and calls
// h, in this order. So a request without a valid key takes no slot. If the key is revoked or expires while h runs,
// the context of the request is cancelled.
func (a *api) authorize(needs requirements, h authHandler) handler {
	authenticate, limit := needs.authenticate, needs.limit
	if authenticate == nil {
		authenticate = a.authenticate
	}
	if limit == nil {
		limit = a.limitRequest
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		state := stateOf(r)
		key, valid, err := authenticate(r)
		if err == nil || key.ID != uuid.Nil {
			state.key = &key
		}
		state.authenticated = err == nil
		a.setCORS(w, r) // after authentication, because the allowed origins are those of the key
		if err != nil {
			return err
		}
		if authenticated(r.Context(), key.Tenant) {
			w.Header().Set("Connection", "close")
		}
		if err := limit(w, r, key); err != nil {
			return err
		}
		if needs.secret && key.Type != control.Secret {
			return &web.Problem{Status: http.StatusForbidden, Code: "SECRET_KEY_REQUIRED",
				Message: "This endpoint needs a secret key (sk_)"}
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer web.AfterDone(valid, func() {
			cancel(context.Cause(valid))
			if state.Begun() {
				// A write may be blocked on the client. The deadline ends it and closes the connection.
				web.SetWriteDeadline(state.ResponseWriter, time.Unix(1, 0))
			}
		})()
		if needs.work != "" {
			release, err := a.acquire(ctx, needs.work, key)
			if err != nil {
				return err
			}
			defer release()
			state.hold(a, key, release)
		}
		err = h(w, r.WithContext(ctx), key)
		if ended := context.Cause(valid); err != nil && ended != nil {
			return ended // the cause of err
		}
		return err
	}
}

// authenticate returns the key in the X-Api-Key header, with the results of [Store.Authenticate]. It limits the
// requests with unknown keys from one client address.
func (a *api) authenticate(r *http.Request) (key control.Key, valid context.Context, err error) {
	presented := r.Header.Get("X-Api-Key")
	if presented == "" {
		return key, nil, &web.Problem{Status: http.StatusUnauthorized, Code: "MISSING_API_KEY",
			Message: "No x-api-key header provided"}
	}
	return a.authenticateText(r, presented)
}

// authenticateText is authenticate for the given text of the key.
func (a *api) authenticateText(r *http.Request, presented string) (
	key control.Key, valid context.Context, err error,
) {
	key, valid, err = a.Store.Authenticate(presented)
	if errors.Is(err, warehouse.ErrInvalidKey) {
		err = cmp.Or(a.limitGuesses(r), err)
	}
	return key, valid, err
}

// limitGuesses counts a request with an unknown key for its address. It returns an error if there were too many. A
// valid key is not affected: clients may share an address with one that guesses keys.
func (a *api) limitGuesses(r *http.Request) error {
	if len(a.GuessRules) == 0 {
		return nil
	}
	d, uncounted := a.Guesses.Take(r.Context(), addressKey(a.clientAddress(r)), a.GuessRules)
	if uncounted != nil || d.Allowed {
		return nil //nolint:nilerr // a limiter that fails refuses no request
	}
	return &web.Problem{Status: http.StatusTooManyRequests, Code: "RATE_LIMIT_EXCEEDED",
		RetryAfter: max(seconds(d.Wait), 1), Message: "Too many unknown API keys from this address."}
}
