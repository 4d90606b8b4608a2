package query

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// The formats of a result.
const (
	JSON        = protocol.JSON        // one object, with a list per row
	JSONColumns = protocol.JSONColumns // one object, with a list per column
	Arrow       = protocol.Arrow       // an Arrow IPC stream
	Parquet     = protocol.Parquet
	CSV         = protocol.CSV    // RFC 4180 with a header
	NDJSON      = protocol.NDJSON // one object per line
)

// Formats lists all formats.
var Formats = protocol.Formats

// Limits of a request.
const (
	MaxRows        = 10_000_000
	DefaultRows    = 10_000 // for JSON and JSONColumns; MaxRows for the other formats
	MaxTimeout     = 10 * time.Minute
	DefaultTimeout = 30 * time.Second
	MaxStatement   = 1 << 20 // bytes
	// MaxBytes is the maximum size of a result in bytes, including the header and the end of its format. Rows of Parquet
	// count uncompressed, so that a Parquet file may be smaller than its limit allows.
	MaxBytes = 2 << 30
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
	ErrRequest       = errors.New("invalid request") // a value of the request is out of range
	ErrUnavailable   = protocol.ErrUnavailable       // the kernel cannot confine a worker
	ErrIDInUse       = errors.New("the id is of a query that is running")
	ErrSQL           = protocol.ErrSQL // the check or DuckDB refuses the statement
	ErrTimeout       = errors.New("the query took too long")
	ErrCancelled     = errors.New("the query was cancelled")
	ErrMemory        = protocol.ErrMemory
	ErrLimitTooSmall = protocol.ErrLimitTooSmall
	ErrCrashed       = protocol.ErrCrashed
)

// A Failure is the reason a statement has no result, with a message for its author.
type Failure = protocol.Failure

// An Outcome summarizes a complete result.
type Outcome = protocol.Outcome

// The values of [Outcome.Truncated].
const (
	TruncatedRows  = protocol.TruncatedRows
	TruncatedBytes = protocol.TruncatedBytes
)
