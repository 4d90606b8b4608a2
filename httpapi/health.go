package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/mux"
)

// A Check tests a component that the server depends on.
type Check struct {
	Name     string
	Required bool                        // /readyz returns 503 if the check fails
	Run      func(context.Context) error // returns nil if the component works
}

// checkTimeout is the time after which a check counts as failed.
const checkTimeout = 2 * time.Second

type operatorKey struct{}

// ForOperator returns a handler whose /readyz includes the errors of failed checks. It is for the internal address
// only: the errors must not be public.
func ForOperator(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), operatorKey{}, true)))
	})
}

// registerHealth registers the endpoints for load balancers: /healthz (the process is alive) and /readyz (the
// server can take requests).
func (a *api) registerHealth(router *mux.Router) {
	a.get(router, "/healthz", func(w http.ResponseWriter, r *http.Request) error {
		stateOf(r).probe = true
		return writeJSON(w, r, http.StatusOK, []byte(`{"status":"ok"}`))
	})
	a.get(router, "/readyz", func(w http.ResponseWriter, r *http.Request) error {
		stateOf(r).probe = true
		answer := struct {
			Status string            `json:"status"`
			Checks map[string]string `json:"checks"`
			Errors map[string]string `json:"errors,omitempty"` // only for the operator
		}{"ready", map[string]string{}, map[string]string{}}
		status := http.StatusOK
		for _, check := range a.Checks {
			ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
			err := check.Run(ctx)
			cancel()
			if err != nil && r.Context().Value(operatorKey{}) != nil {
				answer.Errors[check.Name] = err.Error()
			}
			switch {
			case err == nil:
				answer.Checks[check.Name] = "ok"
			case check.Required:
				answer.Checks[check.Name], answer.Status, status = "failed", "not ready", http.StatusServiceUnavailable
				a.Log.Error("not ready", "check", check.Name, "error", err)
			default:
				answer.Checks[check.Name] = "away"
			}
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		return writeJSON(w, r, status, body)
	})
}
