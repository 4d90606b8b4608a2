package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/voicory/warehouse/warehouse"
)

// problem is an error as the client sees it. Codes and statuses are those of the API documentation.
type problem struct {
	status     int
	code       string
	message    string
	retryAfter int // seconds; 0: not said
}

func (p *problem) Error() string { return p.code + ": " + p.message }

var internalProblem = &problem{status: http.StatusInternalServerError, code: "INTERNAL_ERROR", message: "Server error - contact support"}

// problemOf is the one place where kinds of error become statuses. What it does not know is internal, and hidden.
func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, warehouse.ErrNotFound):
		return &problem{status: http.StatusNotFound, code: "NOT_FOUND", message: "Resource not found"}
	case errors.Is(err, warehouse.ErrInvalidKey):
		return &problem{status: http.StatusUnauthorized, code: "INVALID_API_KEY", message: "Invalid API key"}
	case errors.Is(err, warehouse.ErrRevokedKey):
		return &problem{status: http.StatusUnauthorized, code: "REVOKED_API_KEY", message: "API key has been revoked"}
	}
	return internalProblem
}

// writeError answers with the error, unless the client has left.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(r.Context().Err(), context.Canceled) {
		return
	}
	p := problemOf(err)
	if p == internalProblem {
		a.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeProblem(w, p)
}

func writeProblem(w http.ResponseWriter, p *problem) {
	type detail struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		RetryAfter int    `json:"retry_after,omitempty"`
	}
	body, err := json.Marshal(map[string]detail{"error": {p.code, p.message, p.retryAfter}})
	if err != nil {
		panic(err) // strings and a number are always JSON
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	writeJSON(w, p.status, body)
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body) // a client that left is no error of ours
}
