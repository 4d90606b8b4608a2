package duckdb

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// Kinds of errors. Every error of a connection of an [Instance] that has one of these causes wraps the kind, see
// [classify].
var (
	ErrNoMemory = errors.New("memory is full") // DuckDB's memory limit was reached
	ErrNoSpace  = errors.New("disk is full")
	// ErrIO is the errno itself, so that errors of the operating system are of this kind without being wrapped.
	ErrIO error = syscall.EIO
	// ErrInvalidated: a checkpoint failed, and DuckDB refuses the database until it is detached and attached again.
	ErrInvalidated = errors.New("database must be attached again")
	// ErrDamaged: a part of a database file has other bytes than were written, or is missing. Statements that do not read
	// that part succeed.
	ErrDamaged = errors.New("database file is damaged")
)

// classify wraps an error of a statement in ErrNoMemory, ErrNoSpace, ErrIO, ErrInvalidated or ErrDamaged, if one is its
// cause. It is called where an error leaves a connection, and nowhere else: by the methods of conn, rows and tx, by
// Exec, and by ArrowStream. i may be nil. database is the default database of the connection, or empty.
//
// Some messages have no errno, so classify also measures the free space of the folder.
func (i *Instance) classify(err error, database string) error {
	if err == nil || i == nil || errors.Is(err, ErrNoMemory) || errors.Is(err, ErrNoSpace) || errors.Is(err, ErrIO) ||
		errors.Is(err, ErrInvalidated) || errors.Is(err, ErrDamaged) {
		return err
	}
	var failure *duckdb.Error
	if !errors.As(err, &failure) {
		return err
	}
	if name := invalidated.FindStringSubmatch(failure.Msg); name != nil {
		if i.onInvalidated != nil {
			i.onInvalidated(cmp.Or(name[1:]...))
		}
		err = fmt.Errorf("%w: %w", ErrInvalidated, err)
	}
	switch failure.Type {
	case duckdb.ErrorTypeOutOfMemory:
		return fmt.Errorf("%w: %w", ErrNoMemory, err)
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeFatal, duckdb.ErrorTypeTransaction:
		switch {
		case noSpace.MatchString(failure.Msg) || i.dir != "" && FreeBytes(i.dir) < minFree:
			err = fmt.Errorf("%w: %s: free some space and run the same command again (%w)", ErrNoSpace, i.dir, err)
		case ioFailure.MatchString(failure.Msg):
			err = fmt.Errorf("%w: %w", ErrIO, err)
		case damaged.MatchString(failure.Msg):
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
			if i.onDamaged != nil && database != "" {
				err = i.onDamaged(database, err)
			}
			return err
		default:
			return err
		}
		if file := written.FindStringSubmatch(failure.Msg); file != nil && i.onFailedWrite != nil {
			i.onFailedWrite(file[1], err)
		}
	}
	return err
}

// The texts of errno that DuckDB adds to its messages, and the messages about a file that it writes.
var (
	noSpace   = regexp.MustCompile("No space left on device|[Qq]uota exceeded")
	ioFailure = regexp.MustCompile("Input/output error|Remote I/O error|Read-only file system|" +
		"Bad file descriptor") // of a log that could not be cut, see ftruncate_linux.go
	written = regexp.MustCompile(`(?:Could not (?:write|fsync|truncate|remove)[^"]*|Cannot open file )"([^"]+)"`)
)

// invalidated matches the messages about a database whose checkpoint has failed, or that is being attached again, and
// finds its name. Statements name no other databases than those that are attached.
var invalidated = regexp.MustCompile(`[Dd]atabase "([^"]+)"[. ]+(?:The database )?has been invalidated|` +
	`Binder Error: Catalog "([^"]+)" does not exist`)

// damaged matches the messages about blocks of a database file whose checksum is wrong, or that are behind its end.
var damaged = regexp.MustCompile(`Corrupt database file|Could not read enough bytes from file "[^"]*\.duckdb"`)

// minFree is the number of free bytes below which a failed write is attributed to a full disk. DuckDB needs more than
// this to write its next blocks.
const minFree = 4 << 20

// FreeBytes returns the number of bytes that the process may still write to the disk of dir, or minFree if it is
// unknown.
func FreeBytes(dir string) uint64 {
	var stat syscall.Statfs_t
	if syscall.Statfs(dir, &stat) != nil {
		return minFree // unknown: do not report a full disk
	}
	return stat.Bavail * uint64(stat.Bsize)
}

// IsCatalog reports whether a statement failed because it names a table or function that does not exist.
func IsCatalog(err error) bool { return hasType(err, duckdb.ErrorTypeCatalog) }

// IsTransaction reports whether a statement failed because of the state of its transaction, or of another one.
func IsTransaction(err error) bool { return hasType(err, duckdb.ErrorTypeTransaction) }

// IsInterrupt reports whether a statement failed because it was interrupted.
func IsInterrupt(err error) bool { return hasType(err, duckdb.ErrorTypeInterrupt) }

// IsInternal reports whether a statement failed by an error within DuckDB, which can invalidate its whole instance.
func IsInternal(err error) bool {
	return hasType(err, duckdb.ErrorTypeFatal) || hasType(err, duckdb.ErrorTypeInternal)
}

// IsFileInUse reports whether a database was not attached because its file belongs to another database of the instance.
func IsFileInUse(err error) bool {
	return hasType(err, duckdb.ErrorTypeBinder) && (strings.Contains(err.Error(), "already attached by database") ||
		strings.Contains(err.Error(), "in the process of being detached"))
}

func hasType(err error, kind duckdb.ErrorType) bool {
	var failure *duckdb.Error
	return errors.As(err, &failure) && failure.Type == kind
}

// StatementFault returns the reason of a failure whose cause is the statement or its rows. It returns false if the
// cause is outside of them: the memory, the disk, an interrupt, or an instance that has failed as a whole. The reason
// omits DuckDB's hints about options.
func StatementFault(err error) (reason string, ok bool) {
	var failure *duckdb.Error
	if !errors.As(err, &failure) || errors.Is(err, ErrNoSpace) || errors.Is(err, ErrIO) {
		return "", false
	}
	switch failure.Type {
	case duckdb.ErrorTypeOutOfMemory, duckdb.ErrorTypeInterrupt, duckdb.ErrorTypeFatal, duckdb.ErrorTypeTransaction:
		return "", false
	}
	reason, _, _ = strings.Cut(failure.Msg, "\n")
	return reason, true
}

// newError returns a *Error like those of the driver. Its type is parsed from the prefix of the message, for
// example "Out of Memory Error: ".
func newError(message string) error {
	kind, _, _ := strings.Cut(message, " Error: ")
	kinds := map[string]duckdb.ErrorType{
		"Out of Memory":      duckdb.ErrorTypeOutOfMemory,
		"IO":                 duckdb.ErrorTypeIO,
		"FATAL":              duckdb.ErrorTypeFatal,
		"INTERNAL":           duckdb.ErrorTypeInternal,
		"TransactionContext": duckdb.ErrorTypeTransaction,
		"Invalid Input":      duckdb.ErrorTypeInvalidInput,
		"Conversion":         duckdb.ErrorTypeConversion,
		"Binder":             duckdb.ErrorTypeBinder,
		"Catalog":            duckdb.ErrorTypeCatalog,
		"Parser":             duckdb.ErrorTypeParser,
		"INTERRUPT":          duckdb.ErrorTypeInterrupt,
	}
	return &duckdb.Error{Type: cmp.Or(kinds[kind], duckdb.ErrorTypeUnknownType), Msg: message}
}
