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

// problem is an error response. Statuses and codes are those of the API documentation.
type problem struct {
	status     int
	code       string
	message    string
	retryAfter int      // seconds; 0: no Retry-After header
	outcome    *outcome // rows of the push that were merged or refused; nil: not a push
	fault      *fault   // position in an SQL statement; nil: not an SQL error
}

// fault is the position of an error in an SQL statement, counted from 1. Both fields are nil if it is not known.
type fault struct {
	Line   *int `json:"line"`
	Column *int `json:"column"`
}

func (p *problem) Error() string { return p.code + ": " + p.message }

var internalProblem = &problem{status: http.StatusInternalServerError, code: "INTERNAL_ERROR",
	message: "Server error - contact support"}

// problemOf returns the response for an error. It is the only place that maps kinds of error to statuses. Any
// other error is internal, and its text is hidden from the client.
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
	case errors.Is(err, warehouse.ErrExpiredKey): // the documented API has no code of its own for expired keys
		return &problem{status: http.StatusUnauthorized, code: "REVOKED_API_KEY", message: "API key has expired"}
	}
	return queryProblem(err)
}

// writeError sends the response for err. It cuts the connection if the client has closed it or if part of a
// response has been sent.
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
		level, what = slog.LevelWarn, "answer broken off" // the client only sees the connection close
	}
	if p == internalProblem || begun {
		a.Log.Log(r.Context(), level, what, "request_id", x.id, "method", r.Method,
			"path", logged(r.URL.Path, 256), "error", warehouse.MaskKeys(err.Error()))
	}
	if begun {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, r, p)
}

const problemJSON = "application/problem+json"

// writeProblem sends p in the documented format, or in the format of RFC 9457 if the client accepts it.
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
	if p == internalProblem { // for the client to quote to support
		requestID = exchangeOf(r).id
	}
	message := warehouse.MaskKeys(p.message) // the message may quote text from the request
	contentType := "application/json; charset=utf-8"
	var answer any = map[string]detail{"error": {p.code, message, p.retryAfter, requestID, p.outcome, p.fault}}
	if strings.Contains(r.Header.Get("Accept"), problemJSON) {
		contentType = problemJSON
		answer = rfc9457{"about:blank", http.StatusText(p.status), p.status, message, p.code, p.retryAfter,
			requestID, p.outcome, p.fault}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	send(w, r, p.status, contentType, body)
}
