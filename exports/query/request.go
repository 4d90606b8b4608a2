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

// Formats of a result: JSON with a list for each row, or with a list for each column, an Arrow IPC stream, Parquet, CSV with a header
// (RFC 4180), and an object per row and line.
const (
	JSON        = "json"
	JSONColumns = "json_columns"
	Arrow       = "arrow"
	Parquet     = "parquet"
	CSV         = "csv"
	NDJSON      = "ndjson"
)

// Formats are all of them.
var Formats = []string{JSON, JSONColumns, Arrow, Parquet, CSV, NDJSON}

// Bounds of what can be asked for.
const (
	MaxRows        = 10_000_000
	DefaultRows    = 10_000 // of JSON, which is for reading; of the other formats it is MaxRows
	MaxTimeout     = 10 * time.Minute
	DefaultTimeout = 30 * time.Second
	MaxStatement   = 1 << 20 // bytes
	// MaxBytes bounds a result, in bytes of its format, with all that the format has around the rows. No result is longer. A Parquet file
	// may be shorter than it could be: its rows count uncompressed.
	MaxBytes     = 2 << 30
	maxHeldBytes = 64 << 20 // of one that is not written row by row
)

// Request is a statement to run.
type Request struct {
	Tenant   uuid.UUID
	SQL      string
	Params   json.RawMessage `json:",omitempty"` // a list for ? and $1, an object for $name; empty: none
	Format   string
	Limit    int64         // rows; 0: the default
	MaxBytes int64         // of the result, if the runner's are not less; 0: the runner's
	Timeout  time.Duration // of all of it, reading the result too; 0: the default
}

// DefaultLimit is the rows of a result in a format, where nothing is said of them.
func DefaultLimit(format string) int64 {
	if format == JSON || format == JSONColumns {
		return DefaultRows
	}
	return MaxRows
}

// check fills in what was left open, and refuses what cannot be.
func (r *Request) check() error {
	switch {
	case r.Format == "":
		r.Format = JSON
	case !slices.Contains(Formats, r.Format):
		return fmt.Errorf("%w: the format is none of %v", ErrRequest, Formats)
	}
	if r.Limit < 0 || r.Limit > MaxRows {
		return fmt.Errorf("%w: the limit is not from 1 to %d", ErrRequest, MaxRows)
	}
	if r.MaxBytes < 0 {
		return fmt.Errorf("%w: the most bytes are below 0", ErrRequest)
	}
	if r.Timeout < 0 || r.Timeout > MaxTimeout {
		return fmt.Errorf("%w: the timeout is not from 1 ms to %v", ErrRequest, MaxTimeout)
	}
	if len(r.SQL) > MaxStatement {
		return fmt.Errorf("%w: the statement is longer than %d bytes", ErrRequest, MaxStatement)
	}
	r.Limit, r.Timeout = cmp.Or(r.Limit, DefaultLimit(r.Format)), cmp.Or(r.Timeout, DefaultTimeout)
	return nil
}

// Kinds of error. All but ErrRequest, and ErrUnavailable, are of a [Failure].
var (
	ErrRequest       = errors.New("invalid request")      // a bound or a name that is none
	ErrUnavailable   = errors.New("SQL is not available") // the kernel cannot lock a worker in
	ErrIDInUse       = errors.New("the id is of a query that is running")
	ErrSQL           = errors.New("invalid SQL") // what DuckDB refuses, or is not for reading
	ErrTimeout       = errors.New("the query took too long")
	ErrCancelled     = errors.New("the query was cancelled")
	ErrMemory        = errors.New("the query needs more memory than it may have")
	ErrLimitTooSmall = errors.New("the result does not fit its limit of bytes")
	ErrCrashed       = errors.New("the query broke its process")
)

// Failure is why a statement has no result, in words for whoever wrote it.
type Failure struct {
	Kind    error
	Message string
	Line    int // from 1 on, of the statement's text; 0: it is not about one place
	Column  int // from 1 on, in characters
}

func (f *Failure) Error() string {
	if f.Line == 0 {
		return f.Message
	}
	return fmt.Sprintf("%s (line %d, column %d)", f.Message, f.Line, f.Column)
}

func (f *Failure) Unwrap() error { return f.Kind }

// Outcome is what a complete result is.
type Outcome struct {
	Rows      int64  `json:"rows"`
	Truncated string `json:"truncated"` // what has cut it off: rows or bytes; empty: nothing
}

// settings are what a worker is told first, as JSON on its standard input: all that it needs to be ready for anybody's task.
type settings struct {
	Memory  int64 `json:"memory"` // bytes that DuckDB may take
	Threads int   `json:"threads"`
}

// task is what the worker is told next.
type task struct {
	ID        string              `json:"id"`
	SQL       string              `json:"sql"`
	Params    json.RawMessage     `json:"params,omitempty"`
	Format    string              `json:"format"`
	Limit     int64               `json:"limit"`
	MaxBytes  int64               `json:"max_bytes"`
	AsOf      *time.Time          `json:"as_of"`
	Started   time.Time           `json:"started"`
	CPU       time.Duration       `json:"cpu"`
	Files     map[string][]string `json:"files"` // names by export
	Dirs      []string            `json:"dirs"`
	Unsandbox bool                `json:"unsandboxed"` // do without Landlock
}

// event is a message of a worker. The first reports its protections, before it has looked at the statement. The second reports that the
// result begins, the last that it is complete. A failure takes the place of any of them.
type event struct {
	Confined *sandbox.Protections `json:"confined,omitempty"`

	Begins  bool     `json:"begins,omitempty"`
	Done    *Outcome `json:"done,omitempty"`
	Failure *failed  `json:"failure,omitempty"`
}

type failed struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
}

// told are the kinds that a worker tells of.
var told = []error{ErrSQL, ErrMemory, ErrLimitTooSmall, ErrCrashed, ErrUnavailable}

func (f *failed) failure() *Failure {
	for _, kind := range told {
		if kind.Error() == f.Kind {
			return &Failure{Kind: kind, Message: f.Message, Line: f.Line, Column: f.Column}
		}
	}
	return &Failure{Kind: ErrCrashed, Message: ErrCrashed.Error()}
}
