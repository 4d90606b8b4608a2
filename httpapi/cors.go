package httpapi

import (
	"net/http"

	"github.com/rs/cors"
)

// setCORS sets the CORS headers, and answers a preflight request.
func (a *api) setCORS(w http.ResponseWriter, r *http.Request) {
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
			state := stateOf(r)
			return r.Method == http.MethodOptions || state.authenticated && state.key.AllowsOrigin(origin), nil
		},
	})
}
