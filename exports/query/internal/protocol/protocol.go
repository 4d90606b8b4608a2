package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

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

// The output pipes of a worker: EventsOutput carries events as JSON, ResultOutput the result.
const (
	EventsOutput = iota
	ResultOutput
	Outputs // number of output pipes
)

// HeadBytes is the size of a worker's output buffer, and the maximum size of a result's head. A statement that fails
// before it is full sends no byte.
const HeadBytes = 256 << 10

// The kinds of error that a worker can report.
var (
	ErrUnavailable   = errors.New("SQL is not available") // the kernel cannot confine a worker
	ErrSQL           = errors.New("invalid SQL")          // the check or DuckDB refuses the statement
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
	Truncated string `json:"truncated"` // TruncatedRows or TruncatedBytes; empty if no limit was reached
}

// The values of [Outcome.Truncated].
const (
	TruncatedRows  = "rows"
	TruncatedBytes = "bytes"
)

// Settings is the first message to a worker, as JSON on its standard input. It depends on no tenant, so that a worker
// can prepare itself before its task is known.
type Settings struct {
	Memory  int64 `json:"memory"` // maximum bytes of DuckDB
	Threads int   `json:"threads"`
}

// A File is a published file whose content the server has verified. The worker opens it by its name and compares the
// identity, so that no other file can take its place in between.
type File struct {
	Name   string `json:"name"`
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
	Bytes  int64  `json:"bytes"`
}

// A Task is the second and last message to a worker.
type Task struct {
	ID               string            `json:"id"`
	SQL              string            `json:"sql"`
	Params           json.RawMessage   `json:"params,omitempty"`
	Format           string            `json:"format"`
	Limit            int64             `json:"limit"`     // rows
	MaxBytes         int64             `json:"max_bytes"` // bytes of the result
	AsOf             *time.Time        `json:"as_of"`
	Started          time.Time         `json:"started"`
	CPU              time.Duration     `json:"cpu"`         // maximum CPU time
	Files            map[string][]File `json:"files"`       // files by export
	Dirs             []string          `json:"dirs"`        // folders to look for the files in, in order
	AllowUnsandboxed bool              `json:"unsandboxed"` // continue if the kernel lacks a protection
}

// An Event is a message of a worker. The first event reports the worker's protections, before the statement is parsed.
// The second reports that the result begins, and the last that it is complete. Instead of any of them, the worker can
// report a failure, which ends it.
type Event struct {
	Confined *sandbox.Protections `json:"confined,omitempty"`

	Begins  bool          `json:"begins,omitempty"`
	Done    *Outcome      `json:"done,omitempty"`
	Failure *FailureEvent `json:"failure,omitempty"`
}

// A FailureEvent is the JSON of a [Failure].
type FailureEvent struct {
	Kind    string `json:"kind"` // text of the kind of error
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

// workerKinds are the kinds of error that a worker can report.
var workerKinds = []error{ErrSQL, ErrMemory, ErrLimitTooSmall, ErrCrashed, ErrUnavailable}

// Reported returns the reported failure. An unknown kind counts as ErrCrashed.
func (f *FailureEvent) Reported() *Failure {
	for _, kind := range workerKinds {
		if kind.Error() == f.Kind {
			return &Failure{Kind: kind, Message: f.Message, Line: f.Line, Column: f.Column}
		}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}
