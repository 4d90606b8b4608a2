package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse/control"
)

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
	d, err := l.addresses.Take(context.Background(), addressKey(address), keylessAddressRules)
	if err != nil || !d.Allowed {
		return false
	}
	d, err = l.all.Take(context.Background(), "", keylessRules)
	return err == nil && d.Allowed
}

// logRequest counts and logs a finished request.
func (a *api) logRequest(state *requestState, r *http.Request) {
	took := time.Since(state.started)
	a.metrics.done(state, r.Method, took)
	if state.probe {
		return
	}
	if !state.authenticated && !a.keyless.admit(a.clientAddress(r)) {
		a.metrics.unlogged.Inc()
		return
	}
	entry := control.Request{
		ID: state.id, At: state.started.UTC(),
		Method: logged(r.Method, 16), Path: logged(r.URL.Path, 256), Query: logged(loggedQuery(r.URL.RawQuery), 512),
		Status: state.Status, DurationMS: float64(took.Microseconds()) / 1000, Bytes: state.Bytes,
		Address: a.clientAddress(r).String(), UserAgent: logged(r.UserAgent(), 256),
	}
	if state.secretPath {
		entry.Path = state.route
	}
	principal := slog.Group("")
	// A revoked or expired key appears only in the entry of its 401 response. The store recognizes these entries
	// by their status.
	if state.key != nil && (state.authenticated || state.Status == http.StatusUnauthorized) {
		entry.Key = uuid.NullUUID{UUID: state.key.ID, Valid: true}
		entry.Tenant = uuid.NullUUID{UUID: state.key.Tenant, Valid: true}
		principal = slog.Group("", "key_id", state.key.ID.String(), "tenant_id", state.key.Tenant.String())
	}
	a.Log.LogAttrs(context.Background(), slog.LevelInfo, "request", slog.String("request_id", state.id), principal,
		slog.String("method", entry.Method), slog.String("path", entry.Path), slog.String("query", entry.Query),
		slog.Int("status", entry.Status), slog.Float64("duration_ms", entry.DurationMS),
		slog.Int64("bytes", entry.Bytes),
		slog.String("address", entry.Address), slog.String("user_agent", entry.UserAgent))
	a.Store.LogRequest(entry)
}

// logged returns a text of a request as it is logged: keys are masked, and a text that is longer than most, in bytes,
// is truncated.
func logged(text string, most int) string {
	if text = control.MaskKeys(text); len(text) > most {
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
