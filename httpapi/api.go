package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
)

// Store is what the API needs of the warehouse.
type Store interface {
	// Authenticate finds a key; ErrInvalidKey or ErrRevokedKey where it is not good.
	Authenticate(key string) (warehouse.Key, error)
	// List reads one page of a tenant's rows.
	List(ctx context.Context, tenant uuid.UUID, dataset warehouse.Dataset, filter warehouse.Filter, limit, offset int64) (warehouse.Page, error)
	// Get reads one row of a tenant; ErrNotFound where the tenant has none of that id.
	Get(ctx context.Context, tenant uuid.UUID, dataset warehouse.Dataset, id uuid.UUID) (string, error)
}

// Options of the API.
type Options struct {
	Store   Store
	Limiter limit.Limiter // counts the requests of each key
	Rules   limit.Rules   // for each key; none: no limit
	Log     *slog.Logger
}

type api struct{ Options }

// New returns the handler of all routes.
func New(options Options) http.Handler {
	a := &api{options}
	router := mux.NewRouter().SkipClean(true) // a path is what it is; nothing is redirected
	router.NotFoundHandler = a.handle(func(http.ResponseWriter, *http.Request) error {
		return &problem{status: http.StatusNotFound, code: "NOT_FOUND", message: "There is nothing at this path"}
	})
	router.MethodNotAllowedHandler = a.handle(func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Allow", "GET, HEAD")
		return &problem{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", message: "This path answers GET and HEAD"}
	})
	a.registerLists(router)
	return a.recovered(headed(router))
}

// handler answers a request or returns why it cannot. Only [api.handle] writes errors.
type handler func(w http.ResponseWriter, r *http.Request) error

func (a *api) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}

// keyed is a handler that a key has been checked for.
type keyed func(w http.ResponseWriter, r *http.Request, key warehouse.Key) error

// withKey checks the request's key, and that the key may ask now, before h sees the request.
func (a *api) withKey(h keyed) http.Handler {
	return a.handle(func(w http.ResponseWriter, r *http.Request) error {
		presented := r.Header.Get("X-Api-Key")
		if presented == "" {
			return &problem{status: http.StatusUnauthorized, code: "MISSING_API_KEY", message: "No x-api-key header provided"}
		}
		key, err := a.Store.Authenticate(presented)
		if err != nil {
			return err
		}
		if err := a.limited(w, r, key); err != nil {
			return err
		}
		return h(w, r, key)
	})
}

// headed sets the headers that every answer has, errors too.
func headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
		h.Set("X-API-Version", "v1")
		next.ServeHTTP(w, r)
	})
}

// recovered turns a panic into an internal error that shows nothing.
func (a *api) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch cause := recover(); cause {
			case nil:
			case http.ErrAbortHandler:
				panic(cause) // the server's own way to end a connection
			default:
				a.Log.Error("panic", "method", r.Method, "path", r.URL.Path, "cause", cause)
				writeProblem(w, internalProblem)
			}
		}()
		next.ServeHTTP(w, r)
	})
}
