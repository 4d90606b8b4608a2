package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/voicory/warehouse/warehouse"
)

// The protocol is HTTP over a Unix socket with mode 0600, so that only the user of the server can connect. Client and
// server are the same program: requests and results are Go types as JSON.
//
// The reply of an operation is a stream of events, one per line. A client that disconnects cancels the operation.
//
// The reply of a download is the output. Its result follows as a trailer.
const (
	operationPath = "/operations/"
	resultTrailer = "Voicory-Result"
)

// An event is a line of a reply: a report of progress, or at the end the result, with the error if there is one. An
// operation that fails for some tenants has a result for the others.
type event struct {
	Progress *Progress       `json:"progress,omitempty"`
	Result   json.RawMessage `json:"result,omitempty"`
	Error    string          `json:"error,omitempty"`
	Kind     string          `json:"kind,omitempty"` // text of the kind of error
}

// errorKinds are the kinds that errors.Is also finds in an error that a server has sent.
var errorKinds = []error{
	warehouse.ErrInvalid, warehouse.ErrNotFound, warehouse.ErrNoSpace, warehouse.ErrNotWritable, warehouse.ErrBusy,
	warehouse.ErrUnavailable,
}

// newErrorEvent returns the event of an error with its kind, if it wraps one of errorKinds.
func newErrorEvent(err error) event {
	e := event{Error: err.Error()}
	for _, kind := range errorKinds {
		if errors.Is(err, kind) {
			e.Kind = kind.Error()
			break
		}
	}
	return e
}

// failure returns the error that newErrorEvent was called with, as a remoteError.
func (e event) failure() error {
	failure := &remoteError{text: e.Error}
	for _, kind := range errorKinds {
		if kind.Error() == e.Kind {
			failure.kind = kind
		}
	}
	return failure
}

// remoteError is an error that the server returned. It unwraps to its kind.
type remoteError struct {
	text string
	kind error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.kind }

// replyEvents replies with the reports and then the result or the error of run. It returns that error.
func replyEvents(w http.ResponseWriter, run func(report func(Progress)) (any, error)) error {
	events := json.NewEncoder(w)
	result, err := run(func(p Progress) {
		// Errors are ignored: the client may have disconnected, which cancels the operation.
		_ = events.Encode(event{Progress: &p})
		_ = http.NewResponseController(w).Flush()
	})
	last := event{}
	text, failed := json.Marshal(result)
	if err = errors.Join(err, failed); err != nil {
		last = newErrorEvent(err)
	}
	last.Result = text
	_ = events.Encode(last) // the client may have disconnected
	return err
}

// readEvents calls report for each report of a reply. It decodes the result of the reply, and returns the error in it.
func readEvents(body io.Reader, result any, report func(Progress)) error {
	for lines := json.NewDecoder(body); ; {
		var e event
		if err := lines.Decode(&e); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read the reply of the running server: %w", err)
		}
		if e.Progress != nil {
			report(*e.Progress)
			continue
		}
		var decoded error
		if len(e.Result) > 0 {
			decoded = json.Unmarshal(e.Result, result)
		}
		if e.Error != "" {
			return e.failure()
		}
		return decoded
	}
}

// replyOutput replies with the output of write, without buffering it, and with its result as the trailer. If write
// fails before its first byte, the reply is the error with status 422. If it fails later, replyOutput returns an
// incompleteError.
func replyOutput(w http.ResponseWriter, write func(io.Writer) (any, error)) error {
	w.Header().Set("Trailer", resultTrailer)
	out := &writeTracker{ResponseWriter: w}
	result, err := write(out)
	var text []byte
	if err == nil {
		text, err = json.Marshal(result)
	}
	switch {
	case err == nil:
		w.Header().Set(resultTrailer, string(text))
	case out.written:
		return incompleteError{err}
	default:
		w.Header().Del("Trailer")
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(newErrorEvent(err)) // the client may have disconnected
	}
	return err
}

// incompleteError is an error after the first byte of the output. The handler has to close the connection, so that the
// client sees an incomplete body.
type incompleteError struct{ error }

// writeTracker records whether any byte of the response was written.
type writeTracker struct {
	http.ResponseWriter
	written bool
}

func (f *writeTracker) Write(p []byte) (int, error) {
	f.written = f.written || len(p) > 0
	return f.ResponseWriter.Write(p)
}
