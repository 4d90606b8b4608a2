package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/httpapi/openapi"
	"github.com/voicory/warehouse/warehouse"
)

// Store is what the API needs of the warehouse.
type Store interface {
	// Authenticate finds a key; ErrInvalidKey, ErrRevokedKey or ErrExpiredKey where it is not good, the latter
	// two with the key. valid ends when the key does.
	Authenticate(key string) (_ warehouse.Key, valid context.Context, err error)
	// List reads one page of a tenant's rows.
	List(ctx context.Context, tenant uuid.UUID, dataset warehouse.Dataset, listing warehouse.Listing) (warehouse.Page, error)
	// Changes reads one page of what has changed after a place in the tenant's feed.
	Changes(ctx context.Context, tenant uuid.UUID, dataset warehouse.Dataset, filter warehouse.Filter, after warehouse.FeedPosition, limit int64) (warehouse.Feed, error)
	// Get reads one row of a tenant; ErrNotFound where the tenant has none of that id.
	Get(ctx context.Context, tenant uuid.UUID, dataset warehouse.Dataset, id uuid.UUID) (string, error)
	// Pushed reads the note of a tenant's push under an idempotency key; ErrNotFound where there is none of the last day.
	FindPush(ctx context.Context, tenant uuid.UUID, key string, now time.Time) (warehouse.Push, error)
	// NotePush remembers a push.
	RecordPush(ctx context.Context, tenant uuid.UUID, push warehouse.Push) error
	// KeyByID finds a key by its id, with the errors of Authenticate.
	KeyByID(id uuid.UUID) (_ warehouse.Key, valid context.Context, err error)
	// PublishedFiles lists the files that are published of a tenant, by export and month.
	PublishedFiles(ctx context.Context, tenant uuid.UUID) ([]warehouse.PublishedFile, error)
	// OpenPublished opens one of them by its name, also one that was replaced a while ago; ErrNotFound where the tenant has none.
	OpenPublished(ctx context.Context, tenant uuid.UUID, export, name string) (warehouse.PublishedFile, *os.File, error)
	// OpenDatabase opens the file of all exports, of the newest state or with the sum. admit is asked before one is written.
	OpenDatabase(ctx context.Context, tenant uuid.UUID, sum string, admit func() (leave func(), err error)) (warehouse.CachedDatabase, *os.File, error)
	// Source gives what streams are read from.
	exports.Source
	// Analyze reads the figures of a report; ErrInvalid where there would be too many.
	Analyze(ctx context.Context, tenant uuid.UUID, analysis warehouse.Analysis) (*warehouse.Figures, error)
	SearchTranscripts(ctx context.Context, tenant uuid.UUID, search warehouse.Search) (warehouse.SearchResult, error)
	// LogRequest keeps a request for the operator; it does not wait.
	LogRequest(warehouse.Request)
}

// Options of the API.
type Options struct {
	Store Store
	// Ingest takes pushed rows in. When it returns, what it counts is durable. When the context ends, it returns with what was merged
	// until then.
	Ingest         func(ctx context.Context, push Push) (Pushed, error)
	MaxBody        int64            // bytes of a push
	Queries        *query.Runner    // runs SQL; nil: there is none
	CursorKey      []byte           // signs cursors
	FileKey        []byte           // signs URLs of files
	FileWindow     time.Duration    // in which the parts of a file count as one request; 0: each counts
	Limiter        limit.Limiter    // counts the requests of each key
	Rules          limit.Rules      // for each key that has none of its own; none: no limit
	Guesses        limit.Limiter    // counts the unknown keys of each address
	GuessRules     limit.Rules      // for each address; none: no limit
	TrustedProxies []netip.Prefix   // whose X-Forwarded-For is believed
	Now            func() time.Time // the clock; nil: time.Now
	Slots          Slots            // shared by all tenants; nil: those of NewSlots(DefaultConcurrent)
	Checks         []Check          // what /readyz looks at
	Metrics        prometheus.Registerer
	Log            *slog.Logger
}

type api struct {
	Options
	metrics metrics
	cors    *cors.Cors
	pushing idempotencyKeys
	windows *windows
	unsent  unsent
	keyless *keylessLog
}

// New returns the handler of all routes.
func New(options Options) http.Handler {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Slots == nil {
		options.Slots = NewSlots(DefaultConcurrent)
	}
	a := &api{Options: options, metrics: newMetrics(options.Metrics, options.Slots), cors: newCORS(), pushing: newIdempotencyKeys(),
		windows: newWindows(options.FileWindow, options.Now), unsent: unsent{tenants: map[uuid.UUID]int64{}}, keyless: newKeylessLog(options.Now)}
	return a.observed(a.recovered(headed(a.router())))
}

func (a *api) router() *mux.Router {
	router := mux.NewRouter().SkipClean(true) // a path is what it is; nothing is redirected
	router.NotFoundHandler = a.handle("", func(http.ResponseWriter, *http.Request) error {
		return &problem{status: http.StatusNotFound, code: "NOT_FOUND", message: "There is nothing at this path"}
	})
	a.registerLists(router)
	a.registerPush(router)
	a.registerExports(router)
	a.registerQueries(router)
	a.registerAnalytics(router)
	a.registerHealth(router)
	a.get(router, "/openapi.json", serving(openapi.Document()))
	a.get(router, "/docs", serving(openapi.Page()))
	return router
}

// get registers a path that can be read.
func (a *api) get(router *mux.Router, path string, h handler) {
	a.route(router, path, h, http.MethodGet, http.MethodHead)
}

// post registers a path that something can be sent to.
func (a *api) post(router *mux.Router, path string, h handler) {
	a.route(router, path, h, http.MethodPost)
}

// route registers a path that answers to the methods, and to OPTIONS; to no other.
func (a *api) route(router *mux.Router, path string, h handler, methods ...string) {
	allowed := strings.Join(append(methods, http.MethodOptions), ", ")
	router.Handle(path, a.handle(path, h)).Methods(methods...)
	router.Handle(path, a.handle(path, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", allowed)
		if a.crossOrigin(w, r); exchangeOf(r).status == 0 { // it is not a preflight
			w.WriteHeader(http.StatusNoContent)
		}
		return nil
	})).Methods(http.MethodOptions)
	router.Handle(path, a.handle("", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Allow", allowed)
		return &problem{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", message: "This path answers " + allowed}
	}))
}

// handler answers a request or returns why it cannot. Only [api.handle] writes errors.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle makes a handler one of net/http; route is the pattern of its path, empty where there is none.
func (a *api) handle(route string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		exchangeOf(r).route = route
		if err := h(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}

// serving is a handler that never fails.
func serving(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// headed sets the headers that every answer has, errors too.
func headed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
		h.Set("X-API-Version", "v1")
		h.Set("Vary", "Origin")
		next.ServeHTTP(w, r)
	})
}
