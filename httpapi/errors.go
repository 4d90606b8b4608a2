package httpapi

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/voicory/warehouse/warehouse"
)

// problem is an error as the client sees it. Codes and statuses are those of the API documentation.
type problem struct {
	status     int
	code       string
	message    string
	retryAfter int      // seconds; 0: not said
	outcome    *outcome // what became of rows all the same; nil: there were none
	fault      *fault   // in a statement, that is wrong; nil: it is about none
}

// fault is where a statement is wrong, both null where it cannot be said.
type fault struct {
	Line   *int `json:"line"`
	Column *int `json:"column"`
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
	case errors.Is(err, warehouse.ErrExpiredKey): // to the documented API, a key that is no longer good is a revoked one
		return &problem{status: http.StatusUnauthorized, code: "REVOKED_API_KEY", message: "API key has expired"}
	}
	return queryProblem(err)
}

// writeError answers with the error. Where the client has left, or part of an answer was sent already, the connection is cut.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r)
	p := problemOf(err)
	left := r.Context().Err() != nil && (p == internalProblem || !x.impatient.Load())
	if left || errors.Is(err, errGone) {
		if x.status == 0 {
			x.status = statusGone
		}
		panic(http.ErrAbortHandler)
	}
	begun, level, what := x.begun.Load(), slog.LevelError, "request failed"
	if p != internalProblem {
		level, what = slog.LevelWarn, "answer broken off" // of which its client cannot be told more
	}
	if p == internalProblem || begun {
		a.Log.Log(r.Context(), level, what, "request_id", x.id, "method", r.Method, "path", logged(r.URL.Path, 256), "error", warehouse.MaskKeys(err.Error()))
	}
	if begun {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, r, p)
}

const problemJSON = "application/problem+json"

// writeProblem writes the documented error, or that of RFC 9457 for a client that accepts it.
func writeProblem(w http.ResponseWriter, r *http.Request, p *problem) {
	type detail struct {
		Code       string   `json:"code"`
		Message    string   `json:"message"`
		RetryAfter int      `json:"retry_after,omitempty"`
		RequestID  string   `json:"request_id,omitempty"`
		Outcome    *outcome `json:"outcome,omitempty"`
		*fault
	}
	type rfc9457 struct {
		Type       string   `json:"type"`
		Title      string   `json:"title"`
		Status     int      `json:"status"`
		Detail     string   `json:"detail"`
		Code       string   `json:"code"`
		RetryAfter int      `json:"retry_after,omitempty"`
		RequestID  string   `json:"request_id,omitempty"`
		Outcome    *outcome `json:"outcome,omitempty"`
		*fault
	}
	requestID := ""
	if p == internalProblem { // what to tell the support
		requestID = exchangeOf(r).id
	}
	message := warehouse.MaskKeys(p.message) // it may quote what the client sent
	contentType, answer := "application/json; charset=utf-8", any(map[string]detail{"error": {p.code, message, p.retryAfter, requestID, p.outcome, p.fault}})
	if strings.Contains(r.Header.Get("Accept"), problemJSON) {
		contentType, answer = problemJSON, rfc9457{"about:blank", http.StatusText(p.status), p.status, message, p.code, p.retryAfter, requestID, p.outcome, p.fault}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts and numbers are always JSON
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	send(w, r, p.status, contentType, body)
}
