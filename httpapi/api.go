package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/httpapi/openapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Store is the part of the warehouse that the API uses.
type Store interface {
	// Authenticate returns the key with the given text. It returns ErrInvalidKey if there is no such key, and
	// ErrRevokedKey or ErrExpiredKey together with a key that is no longer valid. valid is done when the key is
	// revoked or expires.
	Authenticate(key string) (_ control.Key, valid context.Context, err error)
	// List returns one page of a tenant's rows.
	List(ctx context.Context, tenant uuid.UUID, dataset schema.Dataset,
		listing warehouse.Listing) (warehouse.Page, error)
	// Changes returns one page of the rows that changed after a position in the tenant's feed.
	Changes(ctx context.Context, tenant uuid.UUID, dataset schema.Dataset,
		filter schema.Filter, after warehouse.FeedPosition, limit int64) (warehouse.Feed, error)
	// History returns the history of the tenant's store, or the zero UUID if the tenant never had a store. first reports
	// whether the store was never restored or rebuilt.
	History(tenant uuid.UUID) (history uuid.UUID, first bool)
	// Get returns one row of a tenant as JSON, or ErrNotFound if the tenant has no row with the id.
	Get(ctx context.Context, tenant uuid.UUID, dataset schema.Dataset, id uuid.UUID) (string, error)
	// Erase erases a customer of a tenant, given by the id. It returns ErrNotFound if the tenant has no such customer.
	Erase(
		ctx context.Context, tenant uuid.UUID, customer string, options warehouse.EraseOptions,
	) (warehouse.Erasure, error)
	// FindPush returns the recorded push of a tenant with the idempotency key. It returns ErrNotFound if none was
	// recorded in the 24 hours before now.
	FindPush(ctx context.Context, tenant uuid.UUID, key string, now time.Time) (warehouse.Push, error)
	// RecordPush records a push under its idempotency key.
	RecordPush(ctx context.Context, tenant uuid.UUID, push warehouse.Push) error
	// KeyByID returns the key with the id. Its errors are those of Authenticate.
	KeyByID(id uuid.UUID) (_ control.Key, valid context.Context, err error)
	// OriginKnown reports whether any valid key of the type allows web pages of the origin.
	OriginKnown(origin string, typ control.KeyType) bool
	// PublishedFiles returns the published files of a tenant, ordered by export and month.
	PublishedFiles(ctx context.Context, tenant uuid.UUID) ([]warehouse.PublishedFile, error)
	// OpenDatabase opens the DuckDB file of all exports: the one with the SHA-256 sum, or else one of the newest state. It
	// calls admit before it writes a new file, and the function that admit returned after that.
	OpenDatabase(ctx context.Context, tenant uuid.UUID, sum string,
		admit func() (leave func(), err error)) (warehouse.CachedDatabase, *os.File, error)
	// Source opens the snapshots that exports are read from.
	exports.Source
	// Source opens the snapshots that figures are computed from.
	analytics.Source
	// Source has the files that tables consist of.
	iceberg.Source
	// Conditions returns the known failures of tenants and of the data folder.
	Conditions() []warehouse.Condition
	// Restores returns the last restore of each tenant that was restored from a backup, oldest first.
	Restores(ctx context.Context) ([]warehouse.Restore, error)
	// LogRequest adds a request to the request log. It does not block.
	LogRequest(control.Request)
}

// Options configure the API.
type Options struct {
	Store Store
	// Ingest merges pushed rows. The rows that it counts are durable when it returns. If ctx is done, it returns
	// the counts of the batches merged by then.
	Ingest         func(ctx context.Context, push Push) (Pushed, error)
	MaxBody        int64            // maximum size of a push in bytes, as received
	Queries        *query.Runner    // runs SQL; nil: the SQL endpoint returns 501
	CursorKey      []byte           // HMAC key of cursors
	FileKey        []byte           // HMAC key of signed file URLs
	TableKey       []byte           // HMAC key of the credentials for files of tables
	FileWindow     time.Duration    // requests for ranges of a file count once per window; 0: each counts
	Limiter        limit.Limiter    // counts requests per key
	Rules          limit.Rules      // for keys without rules of their own; empty: no limit
	Guesses        limit.Limiter    // counts requests with an unknown key per client address
	GuessRules     limit.Rules      // for each client address; empty: no limit
	TrustedProxies []netip.Prefix   // proxies that may set X-Forwarded-For
	Now            func() time.Time // nil: time.Now
	Slots          Slots            // shared by all tenants; nil: NewSlots(DefaultConcurrent)
	Checks         []Check          // checks that /readyz runs
	Metrics        prometheus.Registerer
	Log            *slog.Logger
}

type api struct {
	Options
	metrics    metrics
	cors       *cors.Cors
	pushing    idempotencyKeys
	allowances *rangeAllowances
	unsent     unsent
	keyless    *keylessLog
	tables     *iceberg.Tables
}

// New returns the handler for all routes of tenants.
func New(options Options) http.Handler {
	a := newAPI(options)
	return a.withMiddleware(a.router())
}

func newAPI(options Options) *api {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Slots == nil {
		options.Slots = NewSlots(DefaultConcurrent)
	}
	return &api{
		Options:    options,
		metrics:    newMetrics(options.Metrics, options.Slots),
		cors:       newCORS(options.Store),
		pushing:    newIdempotencyKeys(),
		allowances: newRangeAllowances(options.FileWindow, options.Now),
		unsent:     unsent{tenants: map[uuid.UUID]int64{}},
		keyless:    newKeylessLog(options.Now),
		tables:     iceberg.NewTables(options.Store, options.Now),
	}
}

// withMiddleware returns the router with the middleware that all requests pass.
func (a *api) withMiddleware(router *mux.Router) http.Handler {
	return a.accessLog(a.recoverPanics(securityHeaders(trimSlash(router))))
}

// newRouter returns a router that answers 404 to all requests.
func (a *api) newRouter() *mux.Router {
	router := mux.NewRouter().SkipClean(true) // match paths as sent, without redirects to a cleaned path
	router.NotFoundHandler = a.handle("", func(http.ResponseWriter, *http.Request) error {
		return &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "No resource has this path"}
	})
	return router
}

func (a *api) router() *mux.Router {
	router := a.newRouter()
	a.registerLists(router)
	a.registerPush(router)
	a.registerExports(router)
	a.registerQueries(router)
	a.registerAnalytics(router)
	a.registerCatalog(router, a.tenantTables())
	a.registerObjects(router, a.tenantTables(), objectPath)
	a.registerSharing(router)
	a.registerHealth(router)
	a.get(router, "/openapi.json", serving(openapi.Document()))
	a.get(router, "/docs", serving(openapi.Page()))
	return router
}

// get registers h for GET and HEAD requests to path.
func (a *api) get(router *mux.Router, path string, h handler) {
	a.route(router, path, h, http.MethodGet, http.MethodHead)
}

// post registers h for POST requests to path.
func (a *api) post(router *mux.Router, path string, h handler) {
	a.route(router, path, h, http.MethodPost)
}

// route registers h for the methods. It answers OPTIONS with the allowed methods, and any other method with 405.
// Only a request with POST may have a body.
func (a *api) route(router *mux.Router, path string, h handler, methods ...string) {
	if !slices.Contains(methods, http.MethodPost) {
		h = withoutBody(h)
	}
	allowed := strings.Join(append(methods, http.MethodOptions), ", ")
	router.Handle(path, a.handle(path, h)).Methods(methods...)
	router.Handle(path, a.handle(path, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", allowed)
		if a.setCORS(w, r); stateOf(r).Status == 0 { // setCORS has not answered a preflight
			w.WriteHeader(http.StatusNoContent)
		}
		return nil
	})).Methods(http.MethodOptions)
	router.Handle(path, a.handle("", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Allow", allowed)
		return &web.Problem{Status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED",
			Message: "This path allows " + allowed}
	}))
}

// handler answers a request, or returns an error for [api.handle] to write.
type handler func(w http.ResponseWriter, r *http.Request) error

// handle returns an http.Handler that calls h and writes the error that h returns. route is the pattern of the
// path for logs and metrics, or empty if no route matches.
func (a *api) handle(route string, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stateOf(r).route = route
		if err := h(w, r); err != nil {
			a.writeError(w, r, err)
		}
	})
}

// serving returns a handler that calls h and never fails.
func serving(h http.Handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	}
}

// trimSlash returns a handler that serves a path with a slash at its end as the path without it.
func trimSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path, ok := strings.CutSuffix(r.URL.Path, "/"); ok && path != "" {
			trimmed, url := *r, *r.URL
			url.Path, url.RawPath = path, strings.TrimSuffix(r.URL.RawPath, "/")
			trimmed.URL = &url
			r = &trimmed
		}
		next.ServeHTTP(w, r)
	})
}

// securityHeaders sets the headers that all responses have, including errors.
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setCommonHeaders(w.Header())
		next.ServeHTTP(w, r)
	})
}

// setCommonHeaders sets the headers that all responses have.
func setCommonHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cache-Control", "no-store, no-cache, must-revalidate, private")
	h.Set("X-API-Version", "v1")
	h.Set("Vary", "Origin")
}
