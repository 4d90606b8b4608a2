package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

var internalProblem = &web.Problem{Status: http.StatusInternalServerError, Code: "INTERNAL_ERROR",
	Message: "Server error - contact support"}

// problemOf returns the response for an error. It is the only place that maps kinds of error to statuses. Any
// other error is internal, and its text is hidden from the client.
func problemOf(err error) *web.Problem {
	var p *web.Problem
	var tenant *warehouse.TenantError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tenant):
		return tenantProblem(tenant.Tenant, tenant.Err)
	case errors.Is(err, warehouse.ErrNoMemory):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "SERVER_BUSY", RetryAfter: 5,
			Message: "The server has too little memory left for this request"}
	case errors.Is(err, warehouse.ErrTooLarge):
		return &web.Problem{Status: http.StatusBadRequest, Code: "PAGE_TOO_LARGE",
			Message: "The rows of this page are too large for one response; request fewer with limit"}
	case errors.Is(err, warehouse.ErrNoSpace):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "SERVER_BUSY", RetryAfter: 30,
			Message: "The server has too little disk space left for this request"}
	case errors.Is(err, warehouse.ErrBusy):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "SERVER_BUSY", RetryAfter: 30,
			Message: "The server still sends data of the account; try again later"}
	case errors.Is(err, warehouse.ErrCacheBusy):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "SERVER_BUSY", RetryAfter: 5,
			Message: "The server fetches files of other requests from the bucket of the lake; try again later"}
	case errors.Is(err, warehouse.ErrCacheTooSmall):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "DATA_UNAVAILABLE", RetryAfter: 3600,
			Message: "The files of this request are in the bucket of the lake, and larger than the server may keep on its " +
				"disk (--lake-cache); read the tables with an engine"}
	case errors.Is(err, warehouse.ErrUnavailable), errors.Is(err, warehouse.ErrInvalidated),
		errors.Is(err, warehouse.ErrDamaged):
		return unavailableProblem(err)
	case errors.Is(err, warehouse.ErrIO):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "DATA_UNAVAILABLE", RetryAfter: 30,
			Message: "The disk of the server fails at the moment; send the same request again later"}
	case errors.Is(err, warehouse.ErrNotFound):
		return &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "Resource not found"}
	case errors.Is(err, warehouse.ErrInvalidKey):
		return &web.Problem{Status: http.StatusUnauthorized, Code: "INVALID_API_KEY", Message: "Invalid API key"}
	case errors.Is(err, warehouse.ErrRevokedKey):
		return &web.Problem{Status: http.StatusUnauthorized, Code: "REVOKED_API_KEY", Message: "API key has been revoked"}
	case errors.Is(err, warehouse.ErrExpiredKey): // the documented API has no code of its own for expired keys
		return &web.Problem{Status: http.StatusUnauthorized, Code: "REVOKED_API_KEY", Message: "API key has expired"}
	case errors.Is(err, warehouse.ErrPositionLost):
		return &web.Problem{Status: http.StatusBadRequest, Code: "INVALID_CURSOR", Message: "The position is not in this " +
			"change feed, because the data was restored from a copy or never had it; begin again with since=0"}
	case errors.Is(err, warehouse.ErrUnpublished):
		return &web.Problem{Status: http.StatusServiceUnavailable, Code: "PUBLISHING_FAILED", RetryAfter: 30,
			Message: "The newest rows could not be published, so the published files may lack rows; try again later"}
	}
	return queryProblem(err)
}

// isArgument reports whether an argument of the client causes err. Damaged data, such as a link in place of a store, is
// an ErrInvalid, too, but another argument does not help.
func isArgument(err error) bool {
	return errors.Is(err, warehouse.ErrInvalid) && !errors.Is(err, warehouse.ErrUnavailable)
}

// unavailableProblem returns the response for an ErrUnavailable. A store that cannot be used does not heal by itself,
// so the message names its file and the operator's command, and no detail of the server.
func unavailableProblem(err error) *web.Problem {
	p := &web.Problem{Status: http.StatusServiceUnavailable, Code: "DATA_UNAVAILABLE", RetryAfter: 30,
		Message: "The data of this request is damaged or cannot be read at the moment; try again later"}
	var condition *warehouse.ConditionError
	if errors.As(err, &condition) && condition.Kind == warehouse.BucketFailing {
		p.RetryAfter = 10
		p.Message = "The file is in the bucket of the lake, which cannot be read at the moment; try again later"
	}
	if condition != nil && condition.Kind.IsStore() && condition.Kind != warehouse.StoreInvalidated {
		p.Message = fmt.Sprintf("The rows of this tenant are unavailable (%s: %s); the operator of the server can run "+
			"`voicory verify` and `voicory repair`", condition.Kind, condition.File)
	}
	return p
}

// problemFor returns the problem of err as the answer to r. If the disk is full, a write gets 507 and a read gets 503.
func problemFor(r *http.Request, err error) *web.Problem {
	writes := r.Method == http.MethodDelete || strings.HasPrefix(r.URL.Path, "/api/v1/ingest/")
	if writes && errors.Is(err, warehouse.ErrNoSpace) {
		return &web.Problem{Status: http.StatusInsufficientStorage, Code: "INSUFFICIENT_STORAGE", RetryAfter: 30,
			Message: "The disk of the server is full, so nothing was stored; send the same request again later"}
	}
	return problemOf(err)
}

// writeError sends the response for err. It cuts the connection if the client has closed it or if part of a
// response has been sent.
func (a *api) writeError(w http.ResponseWriter, r *http.Request, err error) {
	state := stateOf(r)
	p := problemFor(r, err)
	left := r.Context().Err() != nil && (p == internalProblem || !state.impatient.Load())
	if left || errors.Is(err, errGone) {
		if state.Status == 0 {
			state.Status = statusGone
		}
		panic(http.ErrAbortHandler)
	}
	begun, level, event := state.Begun(), slog.LevelError, "request failed"
	if begun && p != internalProblem {
		level, event = slog.LevelWarn, "response aborted" // the client only sees the connection close
	}
	if p == internalProblem || begun || errors.Is(err, warehouse.ErrNoSpace) || errors.Is(err, warehouse.ErrIO) {
		a.Log.Log(r.Context(), level, event, "request_id", state.id, "method", r.Method,
			"path", logged(r.URL.Path, 256), "error", control.MaskKeys(err.Error()))
	}
	if begun {
		panic(http.ErrAbortHandler)
	}
	writeProblem(w, r, p)
}

// writeProblem sends p in the format of the protocol that the path belongs to. That of the API is the documented
// format, or the format of RFC 9457 if the client accepts it.
func writeProblem(w http.ResponseWriter, r *http.Request, p *web.Problem) {
	sent := *p
	sent.Message = control.MaskKeys(p.Message) // the message may quote text from the request
	if p == internalProblem {
		sent.RequestID = stateOf(r).id
	}
	mediaType, body := "", []byte(nil)
	switch {
	case isUnder(r, catalogPath):
		mediaType, body = encodeCatalogError(r, w.Header(), &sent)
	case isUnder(r, objectsPath):
		mediaType, body = encodeObjectError(r, w.Header(), &sent)
	case isUnder(r, sharingPath):
		mediaType, body = encodeSharingError(w.Header(), &sent)
	default:
		mediaType, body = sent.Encode(r, w.Header())
	}
	respond(w, r, sent.Status, mediaType, body)
}

// isUnder reports whether the path of a request is path or below it.
func isUnder(r *http.Request, path string) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, path)
	return ok && (rest == "" || rest[0] == '/')
}
