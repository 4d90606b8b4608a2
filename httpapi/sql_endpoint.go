package httpapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

const queryPath = "/api/v1/query"

// registerQueries registers the SQL endpoint and the cancellation of queries.
func (a *api) registerQueries(router *mux.Router) {
	a.post(router, queryPath, a.authorize(requirements{secret: true}, a.query))
	a.route(router, queryPath+"/{id}", a.requireSecretKey(Requests, a.cancelQuery), http.MethodDelete)
}

// maxQueryBody is the maximum size of a request body in bytes: a statement and its parameters.
const maxQueryBody = 4 << 20

// queryTypes maps result formats to content types.
var queryTypes = map[string]string{
	query.JSON:        "application/json; charset=utf-8",
	query.JSONColumns: "application/json; charset=utf-8",
	query.NDJSON:      "application/x-ndjson; charset=utf-8",
	query.CSV:         "text/csv; charset=utf-8; header=present",
	query.Arrow:       "application/vnd.apache.arrow.stream",
	query.Parquet:     exports.Parquet.MediaType(),
}

// query runs an SQL statement and sends its result. A result that fits in memory has X-Row-Count and X-Truncated
// as headers. A longer result is sent while it is produced and has them as trailers.
func (a *api) query(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if a.Queries == nil {
		return query.ErrUnavailable
	}
	request, err := a.readQuery(r, key)
	if err != nil {
		return err
	}
	request.Tenant = key.Tenant
	capToKeyLimits(&request, key.KeySettings)
	id := r.Header.Get("X-Query-Id")
	switch {
	case id == "":
		id = uuid.NewString()
	case !goodID.MatchString(id) || control.MaskKeys(id) != id:
		return invalidQuery(
			"An X-Query-Id has 1 to 64 letters, digits, dots, hyphens and underscores, and is not a key")
	}
	web.SetWriteDeadline(w, time.Now().Add(query.MaxTimeout+web.WriteGrace))
	release, err := a.acquire(r.Context(), Queries, key)
	if err != nil {
		return err
	}
	defer release()
	stateOf(r).hold(a, key, release)
	result, err := a.Queries.Start(r.Context(), id, request)
	if errors.Is(err, query.ErrTimeout) && request.Timeout == key.QueryTime.Duration() {
		return fmt.Errorf("%w, which is the maximum for queries of this key", err)
	}
	if err != nil {
		return err
	}
	end := sync.OnceFunc(result.Close)
	defer end()
	h := w.Header()
	h.Set("X-Query-Id", id)
	if result.AsOf != nil {
		h.Set("X-As-Of", timestamp(*result.AsOf).String())
	}
	contentType := queryTypes[request.Format]
	if result.Outcome != nil {
		if err := stateOf(r).Begin(r.Context(), web.WriteGrace); err != nil {
			return err
		}
		setResultHeaders(h, result.Outcome)
		end() // stop the worker before the slot is released
		respond(w, r, http.StatusOK, contentType, result.Head)
		return nil
	}
	h.Set("Content-Type", contentType)
	h.Set("Trailer", "X-Row-Count, X-Truncated")
	if err := stateOf(r).Begin(r.Context(), web.WriteGrace); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	if _, err := result.WriteTo(web.NewPacedWriter(r.Context(), stateOf(r).ResponseRecorder)); err != nil {
		return err
	}
	setResultHeaders(h, result.Outcome)
	return nil
}

// setResultHeaders sets X-Row-Count and X-Truncated.
func setResultHeaders(h http.Header, outcome *query.Outcome) {
	h.Set("X-Row-Count", strconv.FormatInt(outcome.Rows, 10))
	truncated := outcome.Truncated
	if truncated == "" {
		truncated = "no"
	}
	h.Set("X-Truncated", truncated)
}

// capToKeyLimits limits the rows, the time and the bytes of a request to the limits of its key.
func capToKeyLimits(request *query.Request, key control.KeySettings) {
	request.Limit = atMost(cmp.Or(request.Limit, query.DefaultLimit(request.Format)), key.QueryRows)
	request.Timeout = atMost(cmp.Or(request.Timeout, query.DefaultTimeout), key.QueryTime.Duration())
	request.MaxBytes = key.QueryBytes
}

// atMost returns the smaller of value and bound; a bound of 0 means no bound.
func atMost[N int64 | time.Duration](value, bound N) N {
	if bound == 0 {
		return value
	}
	return min(value, bound)
}

// cancelQuery cancels a running query of the tenant, or returns ErrNotFound if no query has the id.
func (a *api) cancelQuery(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if a.Queries == nil || !a.Queries.Cancel(key.Tenant, mux.Vars(r)["id"]) {
		return warehouse.ErrNotFound
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func invalidQuery(format string, args ...any) error {
	return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_QUERY", Message: fmt.Sprintf(format, args...)}
}

// readQuery returns the query in the request body. It holds a slot of [Bodies] while it reads.
func (a *api) readQuery(r *http.Request, key control.Key) (request query.Request, err error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return request, &web.Problem{Status: http.StatusUnsupportedMediaType, Code: "UNSUPPORTED_MEDIA_TYPE",
			Message: "A query must be application/json"}
	}
	release, err := a.acquire(r.Context(), Bodies, key)
	if err != nil {
		return request, err
	}
	defer release()
	content, err := io.ReadAll(io.LimitReader(r.Body, maxQueryBody+1))
	if err != nil {
		return request, fmt.Errorf("%w: %w", errGone, err)
	}
	if len(content) > maxQueryBody {
		return request, &web.Problem{Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
			Message: fmt.Sprintf("A query may have at most %d bytes", maxQueryBody)}
	}
	body := struct {
		SQL       *string         `json:"sql"`
		Params    json.RawMessage `json:"params"`
		Format    string          `json:"format"`
		Limit     *int64          `json:"limit"`
		TimeoutMS *int64          `json:"timeout_ms"`
	}{}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return request, invalidQuery("The body is not a query: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return request, invalidQuery("The body continues after the query")
	}
	if body.SQL == nil {
		return request, invalidQuery("sql is missing")
	}
	request = query.Request{SQL: *body.SQL, Format: cmp.Or(body.Format, query.JSON)}
	if string(body.Params) != "null" {
		request.Params = body.Params
	}
	if limit := body.Limit; limit != nil {
		if request.Limit = *limit; *limit < 1 || *limit > query.MaxRows {
			return request, invalidQuery("limit is not from 1 to %d", query.MaxRows)
		}
	}
	if timeout := body.TimeoutMS; timeout != nil {
		if *timeout < 1 || *timeout > query.MaxTimeout.Milliseconds() {
			return request, invalidQuery("timeout_ms is not from 1 to %d", query.MaxTimeout.Milliseconds())
		}
		request.Timeout = time.Duration(*timeout) * time.Millisecond
	}
	return request, nil
}

// queryProblem returns the problem for an error of a query, or internalProblem for any other error.
func queryProblem(err error) *web.Problem {
	for _, known := range []struct {
		kind    error
		problem web.Problem
	}{
		{query.ErrSQL, web.Problem{Status: http.StatusBadRequest, Code: "INVALID_SQL"}},
		{query.ErrRequest, web.Problem{Status: http.StatusBadRequest, Code: "INVALID_QUERY", Message: err.Error()}},
		{query.ErrIDInUse, web.Problem{Status: http.StatusConflict, Code: "QUERY_ID_IN_USE",
			Message: "A query with this X-Query-Id is running"}},
		{query.ErrCancelled, web.Problem{Status: http.StatusConflict, Code: "QUERY_CANCELLED",
			Message: "The query was cancelled"}},
		{query.ErrMemory, web.Problem{Status: http.StatusUnprocessableEntity, Code: "QUERY_OUT_OF_MEMORY"}},
		{query.ErrLimitTooSmall, web.Problem{Status: http.StatusUnprocessableEntity, Code: "RESULT_TOO_LARGE"}},
		{query.ErrCrashed, web.Problem{Status: http.StatusInternalServerError, Code: "QUERY_CRASHED",
			Message: "The process that ran the query crashed; other queries are not affected"}},
		{query.ErrUnavailable, web.Problem{Status: http.StatusNotImplemented, Code: "SQL_UNAVAILABLE",
			Message: "This server does not run SQL, because it cannot confine the process of a query"}},
		{query.ErrTimeout, web.Problem{Status: http.StatusGatewayTimeout, Code: "QUERY_TIMEOUT", Message: err.Error()}},
	} {
		if errors.Is(err, known.kind) {
			p := known.problem
			if failure := (*query.Failure)(nil); errors.As(err, &failure) && p.Message == "" {
				p.Message = failure.Message
				if errors.Is(failure, query.ErrSQL) {
					p.Position = &web.Position{}
				}
				if failure.Line > 0 {
					p.Position = &web.Position{Line: &failure.Line, Column: &failure.Column}
				}
			}
			return &p
		}
	}
	return internalProblem
}
