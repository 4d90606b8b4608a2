package query

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/sandbox"
)

// The formats of a result.
const (
	JSON        = "json"         // one object, with a list per row
	JSONColumns = "json_columns" // one object, with a list per column
	Arrow       = "arrow"        // an Arrow IPC stream
	Parquet     = "parquet"
	CSV         = "csv"    // RFC 4180 with a header
	NDJSON      = "ndjson" // one object per line
)

// Formats lists all formats.
var Formats = []string{JSON, JSONColumns, Arrow, Parquet, CSV, NDJSON}

// Limits of a request.
const (
	MaxRows        = 10_000_000
	DefaultRows    = 10_000 // for JSON and JSONColumns; MaxRows for the other formats
	MaxTimeout     = 10 * time.Minute
	DefaultTimeout = 30 * time.Second
	MaxStatement   = 1 << 20 // bytes
	// MaxBytes is the maximum size of a result in bytes, including the header and the end of its format. Rows of Parquet
	// count uncompressed, so that a Parquet file may be smaller than its limit allows.
	MaxBytes     = 2 << 30
	maxHeldBytes = 64 << 20 // bytes of a JSONColumns result, which is held in memory until its end
)

// A Request is a statement to run.
type Request struct {
	Tenant   uuid.UUID
	SQL      string
	Params   json.RawMessage `json:",omitempty"` // a list for ? and $1, or an object for $name; empty if none
	Format   string          // JSON if empty
	Limit    int64           // maximum rows; 0 for DefaultLimit
	MaxBytes int64           // maximum bytes of the result, at most the runner's; 0 for the runner's
	Timeout  time.Duration   // until the last byte of the result; 0 for DefaultTimeout
}

// DefaultLimit returns the maximum number of rows in a format if the request sets no limit.
func DefaultLimit(format string) int64 {
	if format == JSON || format == JSONColumns {
		return DefaultRows
	}
	return MaxRows
}

// check sets the defaults of the request, and returns ErrRequest if a value is out of range.
func (r *Request) check() error {
	switch {
	case r.Format == "":
		r.Format = JSON
	case !slices.Contains(Formats, r.Format):
		return fmt.Errorf("%w: unknown format %q: choose one of %v", ErrRequest, r.Format, Formats)
	}
	if r.Limit < 0 || r.Limit > MaxRows {
		return fmt.Errorf("%w: limit %d is not between 1 and %d", ErrRequest, r.Limit, MaxRows)
	}
	if r.MaxBytes < 0 {
		return fmt.Errorf("%w: the maximum of %d bytes is negative", ErrRequest, r.MaxBytes)
	}
	if r.Timeout < 0 || r.Timeout > MaxTimeout {
		return fmt.Errorf("%w: timeout %v is not between 1 ms and %v", ErrRequest, r.Timeout, MaxTimeout)
	}
	if len(r.SQL) > MaxStatement {
		return fmt.Errorf("%w: the statement has %d bytes, more than %d", ErrRequest, len(r.SQL), MaxStatement)
	}
	r.Limit, r.Timeout = cmp.Or(r.Limit, DefaultLimit(r.Format)), cmp.Or(r.Timeout, DefaultTimeout)
	return nil
}

// The kinds of error. All but ErrRequest, ErrUnavailable, ErrIDInUse and ErrCancelled are kinds of a [Failure].
var (
	ErrRequest       = errors.New("invalid request")      // a value of the request is out of range
	ErrUnavailable   = errors.New("SQL is not available") // the kernel cannot confine a worker
	ErrIDInUse       = errors.New("the id is of a query that is running")
	ErrSQL           = errors.New("invalid SQL") // the check or DuckDB refuses the statement
	ErrTimeout       = errors.New("the query took too long")
	ErrCancelled     = errors.New("the query was cancelled")
	ErrMemory        = errors.New("the query exceeds its memory limit")
	ErrLimitTooSmall = errors.New("the result does not fit its limit of bytes")
	ErrCrashed       = errors.New("the query crashed its worker process")
)

// A Failure is the reason a statement has no result, with a message for its author.
type Failure struct {
	Kind    error // one of the kinds of error
	Message string
	Line    int // in the statement, from 1; 0 if the failure has no position
	Column  int // in characters, from 1
}

func (f *Failure) Error() string {
	if f.Line == 0 {
		return f.Message
	}
	return fmt.Sprintf("%s (line %d, column %d)", f.Message, f.Line, f.Column)
}

func (f *Failure) Unwrap() error { return f.Kind }

// An Outcome summarizes a complete result.
type Outcome struct {
	Rows      int64  `json:"rows"`
	Truncated string `json:"truncated"` // the limit that was reached: rows or bytes; empty if none
}

// settings is the first message to a worker, as JSON on its standard input. It depends on no tenant, so that a worker
// can prepare itself before its task is known.
type settings struct {
	Memory  int64 `json:"memory"` // maximum bytes of DuckDB
	Threads int   `json:"threads"`
}

// A task is the second and last message to a worker.
type task struct {
	ID               string              `json:"id"`
	SQL              string              `json:"sql"`
	Params           json.RawMessage     `json:"params,omitempty"`
	Format           string              `json:"format"`
	Limit            int64               `json:"limit"`     // rows
	MaxBytes         int64               `json:"max_bytes"` // bytes of the result
	AsOf             *time.Time          `json:"as_of"`
	Started          time.Time           `json:"started"`
	CPU              time.Duration       `json:"cpu"`         // maximum CPU time
	Files            map[string][]string `json:"files"`       // file names by export
	Dirs             []string            `json:"dirs"`        // folders to look for the files in, in order
	AllowUnsandboxed bool                `json:"unsandboxed"` // continue if the kernel lacks a protection
}

// An event is a message of a worker. The first event reports the worker's protections, before the statement is parsed.
// The second reports that the result begins, and the last that it is complete. Instead of any of them, the worker can
// report a failure, which ends it.
type event struct {
	Confined *sandbox.Protections `json:"confined,omitempty"`

	Begins  bool          `json:"begins,omitempty"`
	Done    *Outcome      `json:"done,omitempty"`
	Failure *failureEvent `json:"failure,omitempty"`
}

// A failureEvent is the JSON of a [Failure].
type failureEvent struct {
	Kind    string `json:"kind"` // text of the kind of error
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

// workerKinds are the kinds of error that a worker can report.
var workerKinds = []error{ErrSQL, ErrMemory, ErrLimitTooSmall, ErrCrashed, ErrUnavailable}

// failure returns the reported failure. An unknown kind counts as ErrCrashed.
func (f *failureEvent) failure() *Failure {
	for _, kind := range workerKinds {
		if kind.Error() == f.Kind {
			return &Failure{Kind: kind, Message: f.Message, Line: f.Line, Column: f.Column}
		}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}
