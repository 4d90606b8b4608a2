package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/warehouse"
)

// A Check tests a component that the server depends on.
type Check struct {
	Name     string
	Required bool                        // /readyz returns 503 if the check fails
	Run      func(context.Context) error // returns nil if the component works
}

// checkTimeout is the time after which a check counts as failed.
const checkTimeout = 2 * time.Second

// maxDetails is the maximum number of conditions that /readyz lists; it counts all.
const maxDetails = 1000

type operatorKey struct{}

// ForOperator returns a handler whose /readyz includes the errors of failed checks and the conditions with their
// tenants. It is for the internal address only: neither may be public.
func ForOperator(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		api.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), operatorKey{}, true)))
	})
}

// registerHealth registers the endpoints for load balancers: /healthz (the process is alive) and /readyz (the
// server can take requests). /readyz answers 503 only if a required check fails, which means that the server can serve
// no tenant. Everything that affects some tenants makes it degraded, with 200: another server would not help them.
func (a *api) registerHealth(router *mux.Router) {
	a.get(router, "/healthz", func(w http.ResponseWriter, r *http.Request) error {
		stateOf(r).probe = true
		return writeJSON(w, r, http.StatusOK, []byte(`{"status":"ok"}`))
	})
	a.get(router, "/readyz", func(w http.ResponseWriter, r *http.Request) error {
		stateOf(r).probe = true
		answer := struct {
			Status     string                          `json:"status"`
			Checks     map[string]string               `json:"checks"`
			Conditions map[warehouse.ConditionKind]int `json:"conditions"`        // number of each kind
			Errors     map[string]string               `json:"errors,omitempty"`  // only for the operator
			Details    []warehouse.Condition           `json:"details,omitempty"` // only for the operator
			// Restores are the last restores of tenants from a backup, only for the operator. They need no action.
			Restores []warehouse.Restore `json:"restores,omitempty"`
		}{Status: "ready", Checks: map[string]string{}, Conditions: map[warehouse.ConditionKind]int{},
			Errors: map[string]string{}}
		status, operator := http.StatusOK, r.Context().Value(operatorKey{}) != nil
		conditions := a.Store.Conditions()
		for _, condition := range conditions {
			answer.Status = "degraded"
			answer.Conditions[condition.Kind]++
		}
		if operator {
			answer.Details = conditions[:min(len(conditions), maxDetails)]
			restores, err := a.Store.Restores(r.Context())
			if err != nil {
				answer.Errors["restores"] = err.Error()
			}
			answer.Restores = restores[max(0, len(restores)-maxDetails):] // the newest are the last
		}
		for _, check := range a.Checks {
			ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
			err := check.Run(ctx)
			cancel()
			if err != nil && operator {
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
				if status == http.StatusOK {
					answer.Status = "degraded"
				}
			}
		}
		body, err := json.Marshal(answer)
		if err != nil {
			return err
		}
		return writeJSON(w, r, status, body)
	})
}
