package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
)

// exchange is the http.ResponseWriter of all handlers. It records the response for the log and the metrics, and
// holds the state of the request.
type exchange struct {
	http.ResponseWriter
	id        string
	started   time.Time
	head      bool           // HEAD request: net/http discards the body
	route     string         // pattern of the path; empty: no route matches
	key       *warehouse.Key // nil: no key, or an unknown one
	status    int
	bytes     int64
	authentic bool        // the key is valid
	held      *held       // slot that the request holds; nil: none
	counted   bool        // counted against the rate limit of the key; only for files
	probe     bool        // health check: counted in the metrics, not logged
	begun     atomic.Bool // the first byte of the response has been written or is about to be
	// impatient is set when the server stops waiting for the request body. net/http then cancels the request as if
	// the client had closed the connection, but the client may still be there and gets a response.
	impatient atomic.Bool
}

// hold records the slot that the request holds, so that [held.produced] can release it once the response is in
// memory.
func (x *exchange) hold(a *api, key warehouse.Key, release func()) {
	x.held = &held{release, &a.unsent, key.Tenant}
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request.
func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

func (x *exchange) WriteHeader(status int) {
	x.begun.Store(true)
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := x.ResponseWriter.Write(p)
	if !x.head {
		x.bytes += int64(n)
	}
	return n, err
}

// ReadFrom copies src to the client, without copying through this process (sendfile) if the connection supports
// that.
func (x *exchange) ReadFrom(src io.Reader) (int64, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	n, err := io.Copy(x.ResponseWriter, src)
	if !x.head {
		x.bytes += n
	}
	return n, err
}

// Unwrap returns the underlying writer for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// statusGone is the logged status if the client closed the connection before the response. It is never sent.
const statusGone = 499

// observed returns a handler that assigns the request id, and logs and counts the request after next has returned.
func (a *api) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, id: r.Header.Get("X-Request-Id"), started: time.Now(),
			head: r.Method == http.MethodHead}
		// A key sent in the wrong header must not appear in the response or the log.
		if !goodID.MatchString(x.id) || warehouse.MaskKeys(x.id) != x.id {
			x.id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", x.id)
		a.metrics.inFlight.Inc()
		defer func() {
			a.metrics.inFlight.Dec()
			a.report(x, r)
		}()
		next.ServeHTTP(x, r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x)))
	})
}

var goodID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// keylessLog limits the log entries of requests without a valid key, per client address and in total. So a flood
// of such requests takes only a small part of the log.
type keylessLog struct{ addresses, all *limit.Memory }

var (
	keylessAddressRules = limit.Rules{{Max: 60, Window: time.Minute}}
	keylessRules        = limit.Rules{{Max: 600, Window: time.Minute}}
)

// maxKeylessAddresses bounds the memory of a keylessLog to about 10 MB.
const maxKeylessAddresses = 10_000

func newKeylessLog(now func() time.Time) *keylessLog {
	return &keylessLog{limit.NewMemory(maxKeylessAddresses, now), limit.NewMemory(1, now)}
}

// admit reports whether a request from the address is logged, and counts it.
func (l *keylessLog) admit(address netip.Addr) bool {
	d, err := l.addresses.Take(context.Background(), guesser(address), keylessAddressRules)
	if err != nil || !d.Allowed {
		return false
	}
	d, err = l.all.Take(context.Background(), "", keylessRules)
	return err == nil && d.Allowed
}

// report counts and logs a finished request.
func (a *api) report(x *exchange, r *http.Request) {
	took := time.Since(x.started)
	a.metrics.done(x, r.Method, took)
	if x.probe {
		return
	}
	if !x.authentic && !a.keyless.admit(a.clientAddress(r)) {
		a.metrics.unlogged.Inc()
		return
	}
	entry := warehouse.Request{
		ID: x.id, At: x.started.UTC(),
		Method: logged(r.Method, 16), Path: logged(r.URL.Path, 256), Query: logged(loggedQuery(r.URL.RawQuery), 512),
		Status: x.status, DurationMS: float64(took.Microseconds()) / 1000, Bytes: x.bytes,
		Address: a.clientAddress(r).String(), UserAgent: logged(r.UserAgent(), 256),
	}
	who := slog.Group("")
	// A revoked or expired key appears only in the entry of its 401 response. The store recognizes these entries
	// by their status.
	if x.key != nil && (x.authentic || x.status == http.StatusUnauthorized) {
		entry.Key = uuid.NullUUID{UUID: x.key.ID, Valid: true}
		entry.Tenant = uuid.NullUUID{UUID: x.key.Tenant, Valid: true}
		who = slog.Group("", "key_id", x.key.ID.String(), "tenant_id", x.key.Tenant.String())
	}
	a.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", slog.String("request_id", x.id), who,
		slog.String("method", entry.Method), slog.String("path", entry.Path), slog.String("query", entry.Query),
		slog.Int("status", entry.Status), slog.Float64("duration_ms", entry.DurationMS),
		slog.Int64("bytes", entry.Bytes),
		slog.String("address", entry.Address), slog.String("user_agent", entry.UserAgent))
	a.Store.LogRequest(entry)
}

// logged returns text from a request as it is logged: with keys masked, and cut after most bytes.
func logged(text string, most int) string {
	if text = warehouse.MaskKeys(text); len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// maxLoggedName is the maximum length in bytes of an unknown parameter name that is logged.
const maxLoggedName = 20

// loggedQuery returns the query string with the values of unknown parameters hidden, because they may be secrets.
func loggedQuery(raw string) string {
	if raw == "" {
		return ""
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return "(not properly escaped)"
	}
	for name := range values {
		if slices.Contains(parameters, name) {
			continue
		}
		if len(name) > maxLoggedName { // it may be a value sent without a name
			delete(values, name)
			name = "hidden"
		}
		values[name] = []string{"hidden"}
	}
	return values.Encode()
}

// recovered returns a handler that recovers from panics of next. It logs the panic and sends a 500 response
// without details, or cuts the connection if a response has begun.
func (a *api) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			x := exchangeOf(r)
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				a.Log.Error("panic", "request_id", x.id, "method", r.Method, "path", logged(r.URL.Path, 256),
					"cause", warehouse.MaskKeys(fmt.Sprint(cause)), "stack", string(debug.Stack()))
				if !x.begun.Load() {
					writeProblem(w, r, internalProblem)
					return
				}
			}
			panic(http.ErrAbortHandler) // part of the response has been sent: cut the connection
		}()
		next.ServeHTTP(w, r)
	})
}
