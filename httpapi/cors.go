package httpapi

import (
	"net/http"

	"github.com/rs/cors"

	"github.com/voicory/warehouse/warehouse/control"
)

// setCORS sets the CORS headers, and answers a preflight request.
func (a *api) setCORS(w http.ResponseWriter, r *http.Request) {
	w.Header().Del("Vary") // the CORS handler sets it again
	a.cors.HandlerFunc(w, r)
}

// newCORS returns the CORS rules. A key lists the origins whose pages may use it. Only a response to a request with
// that key allows its origins. A secret key does not belong in a page, so its origins may only read files by its signed
// URLs.
//
// If the key is not valid, the response allows the origins of all valid keys of the kind, so that pages can read why
// the request failed. A preflight request comes without the key, so it gets the same response for every origin and
// every header: it allows the browser to send the request, but not to read the response.
func newCORS(store Store) *cors.Cors {
	return cors.New(cors.Options{
		AllowedMethods: []string{http.MethodGet, http.MethodHead},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit",
			"RateLimit-Policy", "Retry-After", "Link", "ETag", "X-Request-Id", "X-API-Version", "X-As-Of",
			"Accept-Ranges", "Content-Range", "Content-Disposition", "Content-Length"},
		MaxAge: 600,
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) {
			state, kind := stateOf(r), control.Public
			if state.signed {
				kind = control.Secret
			}
			switch {
			case r.Method == http.MethodOptions:
				return true, nil
			case state.key != nil && state.key.Type == kind && state.key.AllowsOrigin(origin):
				return true, nil
			}
			return !state.authenticated && store.OriginKnown(origin, kind), nil
		},
	})
}
