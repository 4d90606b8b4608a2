package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/mux"
)

// Check is a part that the server works with.
type Check struct {
	Name     string
	Required bool                        // without it the server is not ready
	Run      func(context.Context) error // nil while the part works
}

// checkTimeout is how long a check may take before it counts as failed.
const checkTimeout = 2 * time.Second

type operatorKey struct{}

// ForOperator has the handler's /readyz say why a check has failed: what an operator may know, and the public may not.
func ForOperator(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), operatorKey{}, true)))
	})
}

// registerHealth adds what load balancers ask: whether the process lives, and whether it should get requests.
func (a *api) registerHealth(router *mux.Router) {
	a.get(router, "/healthz", func(w http.ResponseWriter, r *http.Request) error {
		exchangeOf(r).probe = true
		return writeJSON(w, r, http.StatusOK, []byte(`{"status":"ok"}`))
	})
	a.get(router, "/readyz", func(w http.ResponseWriter, r *http.Request) error {
		exchangeOf(r).probe = true
		answer := struct {
			Status string            `json:"status"`
			Checks map[string]string `json:"checks"`
			Errors map[string]string `json:"errors,omitempty"` // for the operator alone
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
