package warehouse

import (
	"errors"
	"fmt"
	"syscall"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// Kinds of error. What is returned wraps one of these with what was being done; anything else is internal.
// They are mapped to HTTP statuses in httpapi and to exit statuses in cmd/voicory, and nowhere else.
var (
	ErrInvalid     = errors.New("invalid")                  // the caller asked for what cannot be
	ErrNotFound    = errors.New("not found")                // no such row, key or tenant
	ErrInvalidKey  = errors.New("invalid API key")          // unknown or malformed
	ErrRevokedKey  = errors.New("API key has been revoked") // known, and no longer good
	ErrExpiredKey  = errors.New("API key has expired")      // known, and past its time
	ErrUnreadable  = errors.New("cannot be read")           // a file of rows that is not what its name says
	ErrTooLarge    = errors.New("too large")                // more than whoever gives it may give
	ErrInUse       = errors.New("data folder is in use")    // by another process
	ErrBusy        = errors.New("busy")                     // what is asked for is being done already
	ErrNotWritable = errors.New("data folder is not writable")
	ErrNoSpace     = errors.New("disk is full")
	ErrNoMemory    = errors.New("memory is full") // of what DuckDB may use, by what else goes on or by the work itself
)

// diagnose gives errors of memory, and of the disk below the data folder, their kind. DuckDB reports a full disk as an I/O
// error without its errno, so the disk itself is asked.
func (w *Warehouse) diagnose(err error) error {
	if err == nil || errors.Is(err, ErrNoSpace) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %s (%w)", ErrNoSpace, w.dir, err)
	}
	var failure *duckdb.Error
	if errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeOutOfMemory {
		return fmt.Errorf("%w: %w", ErrNoMemory, err)
	}
	if errors.As(err, &failure) && (failure.Type == duckdb.ErrorTypeIO || failure.Type == duckdb.ErrorTypeFatal || failure.Type == duckdb.ErrorTypeTransaction) && freeBytes(w.dir) < minFree {
		return fmt.Errorf("%w: %s: free some space and run the same command again (%w)", ErrNoSpace, w.dir, err)
	}
	return err
}

// minFree is below what DuckDB needs to write its next blocks: a write that failed with less than this left failed for want of space.
const minFree = 4 << 20

func freeBytes(dir string) uint64 {
	var stat syscall.Statfs_t
	if syscall.Statfs(dir, &stat) != nil {
		return minFree // unknown: do not blame the disk
	}
	return stat.Bavail * uint64(stat.Bsize)
}
