package schema

import (
	"errors"
	"fmt"
)

// ErrTooManyDeletions is returned if a source lacks more rows than a DeletionLimit allows. It is probably the wrong
// source, or is being restored. Nothing is deleted then.
var ErrTooManyDeletions = errors.New("too many rows are missing in the source")

// A DeletionLimit is the share of the rows of a table, in percent, that one run of a source may delete because the
// source does not show them. It does not apply to deletions that the source states.
type DeletionLimit int

const (
	// DefaultDeletionLimit is the limit of a source without a setting.
	DefaultDeletionLimit DeletionLimit = 20
	// fewDeletions is the number of rows that a run may always delete, because a share of few rows says nothing.
	fewDeletions = 10
)

// Validate returns ErrInvalid if the limit is not a percentage.
func (l DeletionLimit) Validate() error {
	if l < 0 || l > 100 {
		return fmt.Errorf("%w: the limit of deletions is %d percent; want 0 to 100", ErrInvalid, int(l))
	}
	return nil
}

// Check returns ErrTooManyDeletions if missing rows of total exceed the limit. kind names the rows in the plural.
func (l DeletionLimit) Check(kind string, missing, total int64) error {
	if missing <= fewDeletions || missing*100 <= total*int64(l) {
		return nil
	}
	return fmt.Errorf("%w: %d of %d %s; a run deletes at most %d percent of them. Check that the source is the right one "+
		"and complete; if the %s were really deleted, run once with --max-deleted 100 (max_deleted in a configuration file)",
		ErrTooManyDeletions, missing, total, kind, int(l), kind)
}
