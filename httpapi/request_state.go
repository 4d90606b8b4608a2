package httpapi

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
)

// requestState is the http.ResponseWriter of all handlers. It records the response, and holds the state of the
// request that middleware and handlers share.
type requestState struct {
	*web.ResponseRecorder
	id            string
	started       time.Time
	route         string       // pattern of the path; empty: no route matches
	key           *control.Key // nil: no key, or an unknown one
	authenticated bool         // the key is valid
	signed        bool         // the URL is signed, and the request has no key of its own
	held          *held        // slot that the request holds; nil: none
	counted       bool         // counted against the rate limit of the key; only for files
	probe         bool         // health check: counted in the metrics, not logged
	token         string       // token for the catalog that a request has asked for
	secretPath    bool         // logged as the pattern of the path, because the path names an erased customer
	// impatient is set when the server stops waiting for the request body. net/http then cancels the request as if
	// the client had closed the connection, but the client may still be there and gets a response.
	impatient atomic.Bool
}

type stateKey struct{}

// stateOf returns the state of a request.
func stateOf(r *http.Request) *requestState { return r.Context().Value(stateKey{}).(*requestState) }

// hold records the slot that the request holds, so that [held.produced] can release it once the response is in
// memory.
func (s *requestState) hold(a *api, key control.Key, release func()) {
	s.held = &held{release, &a.unsent, key.Tenant}
}
