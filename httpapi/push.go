package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Push is a request to merge rows that a client sends.
type Push struct {
	Tenant   uuid.UUID // tenant of the key, whatever the rows contain
	Dataset  schema.Dataset
	Format   string    // ndjson, json, csv, parquet or arrow
	Body     io.Reader // plain, or compressed with gzip or zstd
	MaxBytes int64     // maximum size after decompression; above: warehouse.ErrTooLarge
}

// registerPush registers the endpoint that merges pushed rows.
func (a *api) registerPush(router *mux.Router) {
	a.post(router, "/api/v1/ingest/{dataset}", a.authorize(requirements{secret: true}, a.push))
}

// maxUnpacked is the maximum size of a decompressed body, as a multiple of MaxBody, so that no body can fill the
// disk. The decompressor has a bound of its own, relative to the compressed size.
const maxUnpacked = 8

// responseTimeout bounds the time to send the response to a push, however long the push took.
const responseTimeout = 2 * time.Minute

// Pushed is the result of a push.
type Pushed struct {
	schema.Counts
	Refusals []warehouse.Refusal   // the first ones; the last has line 0 if the body could not be read to its end
	Unknown  []string              // fields that the dataset does not have, as dataset.field
	Notes    []warehouse.FieldNote // values that could not be stored as they were
}

// outcome is the result of a push in a response.
type outcome struct {
	schema.Counts
	Unknown  []string              `json:"unknown_fields"`
	Notes    []warehouse.FieldNote `json:"field_notes,omitempty"`
	Refusals []refusedRow          `json:"refusals"`
}

// refusedRow is a row that was refused, and the reason.
type refusedRow struct {
	Line   int64  `json:"line"`
	Reason string `json:"reason"`
}

// noRows is the outcome of a push whose rows were not processed.
var noRows = &outcome{Unknown: []string{}, Refusals: []refusedRow{}}

// maxShownRefusals bounds the refused rows in a response; the counts include all of them.
const maxShownRefusals = 10

// push answers a request that pushes rows. It sets its own deadlines: none while the rows are merged, and
// responseTimeout for the response.
func (a *api) push(w http.ResponseWriter, r *http.Request, key control.Key) error {
	web.SetWriteDeadline(w, time.Time{})
	answer, replayed, err := a.receivePush(w, r, key)
	web.SetWriteDeadline(w, time.Now().Add(responseTimeout))
	// net/http reads the rest of a refused body before it sends the response.
	web.SetReadDeadline(w, time.Now().Add(stallTimeout))
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	return writeJSON(w, r, http.StatusOK, []byte(`{"data":`+answer+`}`))
}

// receivePush receives a push and merges its rows, and returns the outcome as JSON. If a push with the same idempotency
// key and body was merged before, it returns the recorded outcome, and replayed is true.
func (a *api) receivePush(
	w http.ResponseWriter, r *http.Request, key control.Key,
) (answer string, replayed bool, err error) {
	dataset, err := schema.DatasetNamed(mux.Vars(r)["dataset"])
	if err != nil {
		return "", false, &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND",
			Message: "No resource has this path"}
	}
	format, err := bodyFormat(r.Header)
	if err != nil {
		return "", false, err
	}
	name, err := idempotencyKey(r.Header)
	if err != nil {
		return "", false, err
	}
	if r.ContentLength > a.MaxBody {
		return "", false, a.bodyTooLarge()
	}
	leave, err := a.pushing.enter(key.Tenant, name)
	if err != nil {
		return "", false, err
	}
	defer leave()
	receiving, err := a.acquire(r.Context(), Bodies, key)
	if err != nil {
		return "", false, err
	}
	defer receiving()
	body, ctx, done := a.pushBody(w, r)
	defer done()
	if err := body.fillHead(); err != nil {
		return "", false, errors.Join(body.cancelCause(ctx), err)
	}
	release, err := a.acquire(ctx, Pushes, key)
	if err != nil {
		return "", false, err
	}
	defer release()
	receiving()
	fmt.Fprintf(body.digest, "%s\n%s\n", dataset.Name, format)
	if name != "" {
		before, err := a.Store.FindPush(ctx, key.Tenant, name, time.Now())
		if err == nil {
			answer, err := replay(ctx, body, before)
			return answer, true, err
		}
		if !errors.Is(err, warehouse.ErrNotFound) {
			return "", false, err
		}
	}
	answer, err = a.merge(ctx, body, Push{Tenant: key.Tenant, Dataset: dataset, Format: format,
		Body: body, MaxBytes: maxUnpacked * a.MaxBody})
	if err == nil && name != "" {
		// Record the push after its rows. After a crash in between, the client sends the rows again, and merging
		// them twice changes nothing. Failed pushes are not recorded, so they can be sent again with the same key.
		push := warehouse.Push{Key: name, Digest: body.digest.Sum(nil), Outcome: answer, At: time.Now()}
		err = a.Store.RecordPush(ctx, key.Tenant, push)
	}
	return answer, false, err
}

// replay reads the body to its end and returns the outcome of before, the recorded push with the same key. It returns
// IDEMPOTENCY_KEY_REUSED if the body differs from the recorded one.
func replay(ctx context.Context, body *pushBody, before warehouse.Push) (string, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return "", errors.Join(body.cancelCause(ctx), err)
	}
	if !bytes.Equal(body.digest.Sum(nil), before.Digest) {
		return "", &web.Problem{Status: http.StatusUnprocessableEntity, Code: "IDEMPOTENCY_KEY_REUSED",
			Message: "The Idempotency-Key belongs to a push of another body, dataset or type"}
	}
	return before.Outcome, nil
}

// merge merges the rows and returns the outcome as JSON. If the push fails after some batches were merged, the
// returned problem has the outcome of those.
func (a *api) merge(ctx context.Context, body *pushBody, push Push) (string, error) {
	pushed, err := a.Ingest(ctx, push)
	a.metrics.pushed(push.Dataset, pushed.Counts)
	result := outcome{
		Counts: pushed.Counts, Unknown: append([]string{}, pushed.Unknown...), Notes: pushed.Notes, Refusals: []refusedRow{},
	}
	unreadable := ""
	for _, refusal := range pushed.Refusals {
		if refusal.Line == 0 {
			unreadable = refusal.Reason
		} else if len(result.Refusals) < maxShownRefusals {
			result.Refusals = append(result.Refusals, refusedRow{refusal.Line, refusal.Reason})
		}
	}
	if err == nil && unreadable == "" {
		_, err = io.Copy(io.Discard, body) // an Arrow stream may end before the body
	}
	if cause := body.cancelCause(ctx); cause != nil {
		err = cause // err is a consequence of it
	} else if tooLarge := (*warehouse.TooLargeError)(nil); errors.As(err, &tooLarge) {
		err = &web.Problem{Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
			Message: fmt.Sprintf("The body unpacks to more than %d bytes", tooLarge.Bytes)}
	} else if errors.Is(err, warehouse.ErrNoMemory) {
		err = &web.Problem{Status: http.StatusServiceUnavailable, Code: "SERVER_BUSY", RetryAfter: 5,
			Message: "The server has too little memory left; try again later, or send smaller parts"}
	}
	switch p := (*web.Problem)(nil); {
	case errors.As(err, &p):
		partial := *p
		if p.RetryAfter == 0 {
			partial.Outcome = &result // of the batches merged before the failure
		}
		return "", &partial
	case err != nil:
		return "", err
	case unreadable != "":
		return "", &web.Problem{Status: http.StatusUnprocessableEntity, Code: "UNREADABLE_BODY", Outcome: &result,
			Message: "The body could not be read to its end: " + unreadable}
	case pushed.Read > 0 && pushed.Refused == pushed.Read:
		// A client that checks only the status must not take a push without effect for a success.
		return "", &web.Problem{Status: http.StatusUnprocessableEntity, Code: "NO_ROW_ACCEPTED", Outcome: &result,
			Message: fmt.Sprintf("All %d rows were refused", pushed.Read)}
	}
	text, err := json.Marshal(result)
	return string(text), err
}

// bodyTooLarge returns the problem for a body of more than MaxBody bytes.
func (a *api) bodyTooLarge() *web.Problem {
	return &web.Problem{Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
		Message: fmt.Sprintf("A body may have at most %d bytes", a.MaxBody), Outcome: noRows}
}

// pushFormats maps the media types of a push to formats.
var pushFormats = map[string]string{
	"application/x-ndjson": "ndjson", "application/ndjson": "ndjson", "application/jsonl": "ndjson",
	"application/x-jsonlines": "ndjson", "application/jsonlines": "ndjson",
	"application/json": "json", "text/csv": "csv", "text/tab-separated-values": "csv",
	"application/vnd.apache.parquet":      "parquet",
	"application/vnd.apache.arrow.stream": "arrow", "application/vnd.apache.arrow.file": "arrow",
}

// bodyFormat returns the format of the body by its Content-Type, or a 415 problem. The compression is detected
// from the first bytes of the body, and so is the format, except CSV; an unknown Content-Encoding is refused.
func bodyFormat(h http.Header) (string, error) {
	unsupported := func(header string) error {
		return &web.Problem{Status: http.StatusUnsupportedMediaType, Code: "UNSUPPORTED_MEDIA_TYPE",
			Message: header + " is not supported; send application/x-ndjson, application/json, text/csv, " +
				"application/vnd.apache.parquet and application/vnd.apache.arrow.stream, in UTF-8 or UTF-16, " +
				"each also with the Content-Encoding gzip or zstd"}
	}
	media, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	format, ok := pushFormats[media]
	if err != nil || !ok {
		return "", unsupported("This Content-Type")
	}
	switch strings.ToLower(parameters["charset"]) { // the byte order mark shows the encoding
	case "", "utf-8", "utf8", "utf-16", "utf-16le", "utf-16be":
	default:
		return "", unsupported("This charset")
	}
	switch strings.ToLower(strings.Join(h.Values("Content-Encoding"), ",")) {
	case "", "identity", "gzip", "x-gzip", "zstd":
		return format, nil
	}
	return "", unsupported("This Content-Encoding")
}
