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

// exchange is one request and what became of it. It is the response writer that all handlers get.
type exchange struct {
	http.ResponseWriter
	id        string
	started   time.Time
	head      bool           // HEAD: what is written is not sent
	route     string         // pattern of the path; empty: no such path
	key       *warehouse.Key // nil: none that is known
	status    int
	bytes     int64
	authentic bool        // the key is valid
	held      *held       // slot; nil: none
	counted   bool        // it was taken from the limit of its key
	probe     bool        // asked again and again by what watches the server: it is counted, not logged
	begun     atomic.Bool // the answer's first byte was written, or is about to be
	// impatient says that the server itself stopped waiting for the request's body. net/http then cancels the request as if the
	// client had left; but it may be there, and gets its answer.
	impatient atomic.Bool
}

// hold notes the slot that the request of the key holds, so that it is returned once the answer is in memory.
func (x *exchange) hold(a *api, key warehouse.Key, release func()) {
	x.held = &held{release, &a.unsent, key.Tenant}
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
		if !goodID.MatchString(x.id) || warehouse.MaskKeys(x.id) != x.id { // a key in the wrong header is not sent back
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

// keylessLog bounds the log entries of requests without a valid key, of each address and of all, so that no flood of them costs more than a
// small part of the log.
type keylessLog struct{ addresses, all *limit.Memory }

var (
	keylessAddressRules = limit.Rules{{Max: 60, Window: time.Minute}}
	keylessRules        = limit.Rules{{Max: 600, Window: time.Minute}}
)

// maxKeylessAddresses bounds the memory of a keylessLog, to some 10 MB.
const maxKeylessAddresses = 10_000

func newKeylessLog(now func() time.Time) *keylessLog {
	return &keylessLog{limit.NewMemory(maxKeylessAddresses, now), limit.NewMemory(1, now)}
}

// admit reports whether a request from the address is to be logged.
func (l *keylessLog) admit(address netip.Addr) bool {
	d, err := l.addresses.Take(context.Background(), guesser(address), keylessAddressRules)
	if err != nil || !d.Allowed {
		return false
	}
	d, err = l.all.Take(context.Background(), "", keylessRules)
	return err == nil && d.Allowed
}

// report counts and logs an exchange that is over.
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
		ID: x.id, At: x.started.UTC(), Method: logged(r.Method, 16), Path: logged(r.URL.Path, 256), Query: logged(loggedQuery(r.URL.RawQuery), 512),
		Status: x.status, DurationMS: float64(took.Microseconds()) / 1000, Bytes: x.bytes, Address: a.clientAddress(r).String(), UserAgent: logged(r.UserAgent(), 256),
	}
	who := slog.Group("")
	// A key that is no longer valid is named in the entry of its 401 alone, by which the store knows these entries.
	if x.key != nil && (x.authentic || x.status == http.StatusUnauthorized) {
		entry.Key, entry.Tenant = uuid.NullUUID{UUID: x.key.ID, Valid: true}, uuid.NullUUID{UUID: x.key.Tenant, Valid: true}
		who = slog.Group("", "key_id", x.key.ID.String(), "tenant_id", x.key.Tenant.String())
	}
	a.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", slog.String("request_id", x.id), who,
		slog.String("method", entry.Method), slog.String("path", entry.Path), slog.String("query", entry.Query), slog.Int("status", entry.Status),
		slog.Float64("duration_ms", entry.DurationMS), slog.Int64("bytes", entry.Bytes), slog.String("address", entry.Address), slog.String("user_agent", entry.UserAgent))
	a.Store.LogRequest(entry)
}

// logged returns the part of a text from outside that is logged: without keys, and at most so many bytes.
func logged(text string, most int) string {
	if text = warehouse.MaskKeys(text); len(text) > most {
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
				a.Log.Error("panic", "request_id", x.id, "method", r.Method, "path", logged(r.URL.Path, 256), "cause", warehouse.MaskKeys(fmt.Sprint(cause)), "stack", string(debug.Stack()))
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
