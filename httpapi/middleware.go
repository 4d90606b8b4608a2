package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

// statusGone is the logged status if the client closed the connection before the response. It is never sent.
const statusGone = 499

// accessLog returns a handler that assigns the request id, and logs and counts the request after next has returned.
func (a *api) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		state := &requestState{ResponseRecorder: web.NewResponseRecorder(w, r), id: r.Header.Get("X-Request-Id"),
			started: time.Now()}
		// A key sent in the wrong header must not appear in the response or the log.
		if !goodID.MatchString(state.id) || control.MaskKeys(state.id) != state.id {
			state.id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", state.id)
		a.metrics.inFlight.Inc()
		defer func() {
			a.metrics.inFlight.Dec()
			a.logRequest(state, r)
		}()
		next.ServeHTTP(state, r.WithContext(context.WithValue(r.Context(), stateKey{}, state)))
		state.Complete()
	})
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// recoverPanics returns a handler that recovers from panics of next. It logs the panic and sends a 500 response
// without details, or cuts the connection if a response has begun.
func (a *api) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			state := stateOf(r)
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				a.Log.Error("panic", "request_id", state.id, "method", r.Method, "path", logged(r.URL.Path, 256),
					"cause", control.MaskKeys(fmt.Sprint(cause)), "stack", string(debug.Stack()))
				if !state.Begun() {
					writeProblem(w, r, internalProblem)
					return
				}
			}
			state.Abort() // a part of the response has been sent
		}()
		next.ServeHTTP(w, r)
	})
}
