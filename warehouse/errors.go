package warehouse

import (
	"errors"
	"fmt"
	"syscall"

	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/schema"
)

// Kinds of errors. Errors of this package wrap one of them and describe the operation; all other errors are internal.
// Package httpapi maps the kinds to HTTP statuses, and cmd/voicory maps them to exit statuses.
var (
	ErrInvalid     = schema.ErrInvalid                      // invalid argument or request
	ErrNotFound    = schema.ErrNotFound                     // unknown row, key, tenant or file
	ErrInvalidKey  = errors.New("invalid API key")          // unknown or malformed key
	ErrRevokedKey  = errors.New("API key has been revoked") // known key that was revoked
	ErrExpiredKey  = errors.New("API key has expired")      // known key past its expiry
	ErrUnreadable  = errors.New("cannot be read")           // malformed input file
	ErrTooLarge    = errors.New("too large")                // input beyond a limit of the caller
	ErrInUse       = errors.New("data folder is in use")    // another process holds the data folder
	ErrBusy        = errors.New("busy")                     // the same operation is already running
	ErrNotWritable = errors.New("data folder is not writable")
	ErrNoSpace     = errors.New("disk is full")
	ErrNoMemory    = errors.New("memory is full") // DuckDB's memory limit was reached
)

// TooLargeError is an [ErrTooLarge] that names the bound: bytes of rows, unpacked.
type TooLargeError struct{ Bytes int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s: it unpacks to more than %d bytes", ErrTooLarge, e.Bytes)
}

// Is reports whether the target is ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// diagnose wraps err in ErrNoMemory or ErrNoSpace if it was caused by a lack of memory, or of space on the disk of
// the data folder. DuckDB reports a full disk as an I/O error without an errno, so diagnose also measures the free
// space.
func (w *Warehouse) diagnose(err error) error {
	if err == nil || errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s (%w)", ErrNoSpace, w.dir, err)
	}
	var failure *duckdb.Error
	if !errors.As(err, &failure) {
		return err
	}
	switch failure.Type {
	case duckdb.ErrorTypeOutOfMemory:
		return fmt.Errorf("%w: %w", ErrNoMemory, err)
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeFatal, duckdb.ErrorTypeTransaction:
		if freeBytes(w.dir) < minFree {
			return fmt.Errorf("%w: %s: free some space and run the same command again (%w)", ErrNoSpace, w.dir, err)
		}
	}
	return err
}

// minFree is the number of free bytes below which a failed write is attributed to a full disk. DuckDB needs more than
// this to write its next blocks.
const minFree = 4 << 20

func freeBytes(dir string) uint64 {
	var stat syscall.Statfs_t
	if syscall.Statfs(dir, &stat) != nil {
		return minFree // unknown: do not report a full disk
	}
	return stat.Bavail * uint64(stat.Bsize)
}
