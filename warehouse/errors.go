package warehouse

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Kinds of errors. Errors of this package wrap one of them and describe the operation; all other errors are internal.
// Package httpapi maps the kinds to HTTP statuses, and cmd/voicory maps them to exit statuses.
var (
	ErrInvalid     = schema.ErrInvalid                   // invalid argument or request
	ErrNotFound    = schema.ErrNotFound                  // unknown row, key, tenant or file
	ErrInvalidKey  = control.ErrInvalidKey               // unknown or malformed key
	ErrRevokedKey  = control.ErrRevokedKey               // known key that was revoked
	ErrExpiredKey  = control.ErrExpiredKey               // known key past its expiry
	ErrUnreadable  = errors.New("cannot be read")        // malformed input file
	ErrTooLarge    = errors.New("too large")             // input beyond a limit of the caller
	ErrInUse       = errors.New("data folder is in use") // another process holds the data folder
	ErrBusy        = errors.New("busy")                  // the same operation is already running
	ErrNotWritable = errors.New("data folder is not writable")
	ErrNoSpace     = duckdb.ErrNoSpace
	ErrIO          = duckdb.ErrIO                    // the disk failed
	ErrNoMemory    = duckdb.ErrNoMemory              // DuckDB's memory limit was reached
	ErrInvalidated = duckdb.ErrInvalidated           // a checkpoint failed; the database will be attached again
	ErrDamaged     = duckdb.ErrDamaged               // a part of a database file cannot be read
	ErrUnpublished = errors.New("publishing failed") // the published files of a tenant may lack rows

	ErrTenantDeleted = control.ErrTenantDeleted
	ErrPositionLost  = errors.New("position is not in this store") // of a change feed, after a restore from a copy
)

// TooLargeError is an [ErrTooLarge] that names the bound: bytes of rows, unpacked.
type TooLargeError struct{ Bytes int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%s: it unpacks to more than %d bytes", ErrTooLarge, e.Bytes)
}

// Is reports whether the target is ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// diskError wraps an error of the operating system in ErrNoSpace if the disk is full or a quota is exhausted. It wraps
// the error of a read-only file system, which a failed disk becomes, in ErrIO. dir is the data folder. Package duckdb
// classifies the errors of DuckDB.
func diskError(dir string, err error) error {
	switch {
	case errors.Is(err, ErrNoSpace):
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s (%w)", ErrNoSpace, dir, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %w", ErrIO, err)
	}
	return err
}
