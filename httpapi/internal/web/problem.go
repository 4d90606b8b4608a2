package web

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// Problem is an error response. Statuses and codes are those of the API documentation.
type Problem struct {
	Status     int
	Code       string
	Message    string
	RetryAfter int       // seconds; 0: no Retry-After header
	RequestID  string    // for the client to quote to support; "": left out
	Outcome    any       // result of the part that was done; nil: left out
	Position   *Position // position in an SQL statement; nil: not an SQL error
}

// Position is the position of an error in an SQL statement, counted from 1. Both fields are nil if it is not known.
type Position struct {
	Line   *int `json:"line"`
	Column *int `json:"column"`
}

// Error returns the code and the message.
func (p *Problem) Error() string { return p.Code + ": " + p.Message }

// ProblemJSON is the media type of RFC 9457.
const ProblemJSON = "application/problem+json"

// JSON is the media type of all other responses in JSON.
const JSON = "application/json; charset=utf-8"

// Encode returns the body of the error response to r, and its media type: the documented format, or the format of
// RFC 9457 if the client accepts it. It also sets the Retry-After header in h.
func (p *Problem) Encode(r *http.Request, h http.Header) (mediaType string, body []byte) {
	type detail struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		RetryAfter int    `json:"retry_after,omitempty"`
		RequestID  string `json:"request_id,omitempty"`
		Outcome    any    `json:"outcome,omitempty"`
		*Position
	}
	type rfc9457 struct {
		Type       string `json:"type"`
		Title      string `json:"title"`
		Status     int    `json:"status"`
		Detail     string `json:"detail"`
		Code       string `json:"code"`
		RetryAfter int    `json:"retry_after,omitempty"`
		RequestID  string `json:"request_id,omitempty"`
		Outcome    any    `json:"outcome,omitempty"`
		*Position
	}
	mediaType = JSON
	var answer any = map[string]detail{"error": {Code: p.Code, Message: p.Message, RetryAfter: p.RetryAfter,
		RequestID: p.RequestID, Outcome: p.Outcome, Position: p.Position}}
	if strings.Contains(r.Header.Get("Accept"), ProblemJSON) {
		mediaType = ProblemJSON
		answer = rfc9457{Type: "about:blank", Title: http.StatusText(p.Status), Status: p.Status, Detail: p.Message,
			Code: p.Code, RetryAfter: p.RetryAfter, RequestID: p.RequestID, Outcome: p.Outcome, Position: p.Position}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	return mediaType, body
}
