package httpapi

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// exchange is one request and what became of it. It is the response writer that all handlers get.
type exchange struct {
	http.ResponseWriter
	id      string
	started time.Time
	head    bool           // HEAD: what is written is not sent
	route   string         // pattern of the path; empty: no such path
	key     *warehouse.Key // nil: none, or none that is good
	status  int
	bytes   int64
	counted bool        // it was taken from the limit of its key
	probe   bool        // asked again and again by what watches the server: it is counted, not logged
	begun   atomic.Bool // the answer's first byte was written, or is about to be
	// impatient says that the server itself stopped waiting for the request's body. net/http then cancels the request as if the
	// client had left; but it may be there, and gets its answer.
	impatient atomic.Bool
}

type exchangeKey struct{}

// exchangeOf finds the exchange of a request.
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

// ReadFrom lets a file go to the client without passing through this process, where the connection can do that.
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

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// statusGone is logged where the client left before its answer; nobody receives it.
const statusGone = 499

// observed gives a request its id, and tells the log and the metrics what became of it.
func (a *api) observed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{ResponseWriter: w, id: r.Header.Get("X-Request-Id"), started: time.Now(), head: r.Method == http.MethodHead}
		if !goodID.MatchString(x.id) {
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

// report tells of an exchange that is over.
func (a *api) report(x *exchange, r *http.Request) {
	took := time.Since(x.started)
	a.metrics.done(x, r.Method, took)
	if x.probe {
		return
	}
	entry := warehouse.Request{
		ID: x.id, At: x.started.UTC(), Method: logged(r.Method, 16), Path: logged(r.URL.Path, 256), Query: logged(loggedQuery(r.URL.RawQuery), 512),
		Status: x.status, DurationMS: float64(took.Microseconds()) / 1000, Bytes: x.bytes, Address: a.clientAddress(r).String(), UserAgent: logged(r.UserAgent(), 256),
	}
	who := slog.Group("")
	if x.key != nil {
		entry.Key, entry.Tenant = uuid.NullUUID{UUID: x.key.ID, Valid: true}, uuid.NullUUID{UUID: x.key.Tenant, Valid: true}
		who = slog.Group("", "key_id", x.key.ID.String(), "tenant_id", x.key.Tenant.String())
	}
	a.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", slog.String("request_id", x.id), who,
		slog.String("method", entry.Method), slog.String("path", entry.Path), slog.String("query", entry.Query), slog.Int("status", entry.Status),
		slog.Float64("duration_ms", entry.DurationMS), slog.Int64("bytes", entry.Bytes), slog.String("address", entry.Address), slog.String("user_agent", entry.UserAgent))
	a.Store.LogRequest(entry)
}

// keyLike is what might be a key, wherever a client has put it by mistake.
var keyLike = regexp.MustCompile(`([ps]k_)[A-Za-z0-9]{5,}`)

// logged is what the log keeps of a text from outside: no key, and no more than most bytes.
func logged(text string, most int) string {
	if text = keyLike.ReplaceAllString(text, "$1…"); len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

// maxLoggedName is the longest name of a parameter that the API does not have and that the log shows.
const maxLoggedName = 20

// loggedQuery hides the values of parameters that the API does not have: they may be anything, secrets too.
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
		if len(name) > maxLoggedName { // such as a value that came without its name
			delete(values, name)
			name = "hidden"
		}
		values[name] = []string{"hidden"}
	}
	return values.Encode()
}

// recovered turns a panic into an internal error that shows nothing.
func (a *api) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			x := exchangeOf(r)
			if err, ok := cause.(error); !ok || !errors.Is(err, http.ErrAbortHandler) {
				a.Log.Error("panic", "request_id", x.id, "method", r.Method, "path", logged(r.URL.Path, 256), "cause", cause, "stack", string(debug.Stack()))
				if !x.begun.Load() {
					writeProblem(w, r, internalProblem)
					return
				}
			}
			panic(http.ErrAbortHandler) // what has begun cannot end well: the connection is cut
		}()
		next.ServeHTTP(w, r)
	})
}
