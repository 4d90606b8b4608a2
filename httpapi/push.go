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
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/warehouse"
)

// Push is rows that a client sends.
type Push struct {
	Tenant   uuid.UUID // whose rows these are, whatever they say
	Dataset  warehouse.Dataset
	Format   string    // ndjson, json, csv, parquet or arrow
	Body     io.Reader // perhaps compressed with gzip or zstd
	MaxBytes int64     // that the body may be unpacked; beyond, warehouse.ErrTooLarge
}

// registerPush adds the endpoint that takes rows in.
func (a *api) registerPush(router *mux.Router) {
	a.post(router, "/api/v1/ingest/{dataset}", a.admitted(access{secret: true}, a.push))
}

// maxUnpacked is how many times --max-body a body may have once it is unpacked, so that none can fill the disk. What unpacks it also
// bounds it by its own size.
const maxUnpacked = 8

// answerTimeout is how long a client may take to read the answer to its push, however long the push took.
const answerTimeout = 2 * time.Minute

// Pushed is what became of pushed rows.
type Pushed struct {
	warehouse.Counts
	Refusals []warehouse.Refusal // the first; one with line 0, the last, says why the body was not read to its end
	Unknown  []string            // fields that the rows have and the dataset has not, as dataset.field
}

// outcome is how a client is told of it.
type outcome struct {
	warehouse.Counts
	Unknown  []string     `json:"unknown_fields"`
	Refusals []refusedRow `json:"refusals"`
}

type refusedRow struct {
	Line   int64  `json:"line"`
	Reason string `json:"reason"`
}

// noRows is the outcome where none were looked at.
var noRows = &outcome{Unknown: []string{}, Refusals: []refusedRow{}}

// maxShownRefusals bounds the refused rows of an answer; they are all counted.
const maxShownRefusals = 10

func (a *api) push(w http.ResponseWriter, r *http.Request, key warehouse.Key) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // where there is none, nothing is bounded
	answer, replayed, err := a.take(w, r, key)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(stallTimeout)) // net/http reads what is left of a body that was refused
	if err != nil {
		return err
	}
	if replayed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	return writeJSON(w, r, http.StatusOK, []byte(`{"data":`+answer+`}`))
}

// take receives a push and has its rows merged; or, where it is one that was merged before, finds what was answered then.
func (a *api) take(w http.ResponseWriter, r *http.Request, key warehouse.Key) (answer string, replayed bool, err error) {
	dataset, err := warehouse.DatasetNamed(mux.Vars(r)["dataset"])
	if err != nil {
		return "", false, &problem{status: http.StatusNotFound, code: "NOT_FOUND", message: "There is nothing at this path"}
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
	body, ctx, done := a.receive(w, r)
	defer done()
	if err := body.fillHead(); err != nil {
		return "", false, errors.Join(body.why(ctx), err)
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
	answer, err = a.merge(ctx, body, Push{Tenant: key.Tenant, Dataset: dataset, Format: format, Body: body, MaxBytes: maxUnpacked * a.MaxBody})
	if err == nil && name != "" {
		// After the rows: a crash in between has them merged again, which changes nothing. Only what went well is noted, so that
		// what did not can be sent again under the same key.
		err = a.Store.RecordPush(ctx, key.Tenant, warehouse.Push{Key: name, Digest: body.digest.Sum(nil), Outcome: answer, At: time.Now()})
	}
	return answer, false, err
}

// replay reads a body once more, to see that it is the one that was answered before.
func replay(ctx context.Context, body *pushBody, before warehouse.Push) (string, error) {
	if _, err := io.Copy(io.Discard, body); err != nil {
		return "", errors.Join(body.why(ctx), err)
	}
	if !bytes.Equal(body.digest.Sum(nil), before.Digest) {
		return "", &problem{status: http.StatusUnprocessableEntity, code: "IDEMPOTENCY_KEY_REUSED",
			message: "The Idempotency-Key belongs to a push of another body, dataset or type"}
	}
	return before.Outcome, nil
}

// merge has the rows merged and says what became of them, as JSON.
func (a *api) merge(ctx context.Context, body *pushBody, push Push) (string, error) {
	pushed, err := a.Ingest(ctx, push)
	a.metrics.pushed(push.Dataset, pushed.Counts)
	became := outcome{Counts: pushed.Counts, Unknown: append([]string{}, pushed.Unknown...), Refusals: []refusedRow{}}
	fault := ""
	for _, refusal := range pushed.Refusals {
		if refusal.Line == 0 {
			fault = refusal.Reason
		} else if len(became.Refusals) < maxShownRefusals {
			became.Refusals = append(became.Refusals, refusedRow{refusal.Line, refusal.Reason})
		}
	}
	if err == nil && fault == "" {
		_, err = io.Copy(io.Discard, body) // of Arrow, what follows the end of its stream
	}
	if cause := body.why(ctx); cause != nil {
		err = cause // the error is only what came of it
	} else if tooLarge := (*warehouse.TooLargeError)(nil); errors.As(err, &tooLarge) {
		err = &problem{status: http.StatusRequestEntityTooLarge, code: "PAYLOAD_TOO_LARGE", message: fmt.Sprintf("The body unpacks to more than %d bytes", tooLarge.Bytes)}
	} else if errors.Is(err, warehouse.ErrNoMemory) {
		err = &problem{status: http.StatusServiceUnavailable, code: "SERVER_BUSY", retryAfter: 5, message: "The server has too little memory left; if it stays so, send smaller parts"}
	}
	switch p := (*problem)(nil); {
	case errors.As(err, &p):
		told := *p
		if p.retryAfter == 0 {
			told.outcome = &became // of batches that were merged before
		}
		return "", &told
	case err != nil:
		return "", err
	case fault != "":
		return "", &problem{status: http.StatusUnprocessableEntity, code: "UNREADABLE_BODY", outcome: &became,
			message: "The body was not read to its end: " + fault}
	case pushed.Read > 0 && pushed.Refused == pushed.Read:
		// A client that looks at the status alone must not take a push that changed nothing for one that went well.
		return "", &problem{status: http.StatusUnprocessableEntity, code: "NO_ROW_ACCEPTED", outcome: &became,
			message: fmt.Sprintf("All of %d rows were refused", pushed.Read)}
	}
	text, err := json.Marshal(became)
	return string(text), err
}

func (a *api) bodyTooLarge() *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, code: "PAYLOAD_TOO_LARGE", message: fmt.Sprintf("A body may have %d bytes", a.MaxBody), outcome: noRows}
}

// pushFormats are the media types of a push.
var pushFormats = map[string]string{
	"application/x-ndjson": "ndjson", "application/ndjson": "ndjson", "application/jsonl": "ndjson", "application/x-jsonlines": "ndjson", "application/jsonlines": "ndjson",
	"application/json": "json", "text/csv": "csv", "application/vnd.apache.parquet": "parquet",
	"application/vnd.apache.arrow.stream": "arrow", "application/vnd.apache.arrow.file": "arrow",
}

// bodyFormat tells what the body is. What it is compressed with, its first bytes say; the header only must not say something else.
func bodyFormat(h http.Header) (string, error) {
	fail := func(what string) error {
		return &problem{status: http.StatusUnsupportedMediaType, code: "UNSUPPORTED_MEDIA_TYPE", message: what + "; there are application/x-ndjson, application/json (an array), " +
			"text/csv, application/vnd.apache.parquet and application/vnd.apache.arrow.stream, in UTF-8, each also with the Content-Encoding gzip or zstd"}
	}
	media, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	format, ok := pushFormats[media]
	if err != nil || !ok {
		return "", fail("The Content-Type is none that is taken")
	}
	if charset := strings.ToLower(parameters["charset"]); charset != "" && charset != "utf-8" && charset != "utf8" {
		return "", fail("The charset is none that is taken")
	}
	switch strings.ToLower(strings.Join(h.Values("Content-Encoding"), ",")) {
	case "", "identity", "gzip", "x-gzip", "zstd":
		return format, nil
	}
	return "", fail("The Content-Encoding is none that is taken")
}

var goodIdempotencyKey = regexp.MustCompile(`^[!-~]{8,128}$`)

// idempotencyKey is the client's name for this push; empty: it has none.
func idempotencyKey(h http.Header) (string, error) {
	names := h.Values("Idempotency-Key")
	if len(names) == 0 {
		return "", nil
	}
	if len(names) > 1 || !goodIdempotencyKey.MatchString(names[0]) || warehouse.MaskKeys(names[0]) != names[0] { // it is stored
		return "", &problem{status: http.StatusBadRequest, code: "INVALID_IDEMPOTENCY_KEY", message: "An Idempotency-Key has 8 to 128 visible ASCII characters, and is not an API key"}
	}
	return names[0], nil
}
