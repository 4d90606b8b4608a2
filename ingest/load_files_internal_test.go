package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

// A file is refused for an error that its rows may have caused, and for no other.
func TestBatchError_IsCausedByRows(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		err              error
		staging, merging bool // whether the error is a batchError
	}{
		{nil, false, false},
		{warehouse.ErrNoMemory, true, true},
		{warehouse.ErrNoSpace, false, false},
		{warehouse.ErrUnreadable, true, false},
		{warehouse.ErrUnavailable, true, false},
		{errors.New("any other"), true, false},
	} {
		for _, ctx := range []context.Context{t.Context(), ended} {
			for name, of := range map[string]struct {
				classify func(context.Context, error) error
				want     bool
			}{"staging": {stagingError, test.staging}, "merging": {mergingError, test.merging}} {
				err := test.err
				if err != nil {
					err = fmt.Errorf("merge: %w", err)
				}
				got, failed := of.classify(ctx, err), (*batchError)(nil)
				if !errors.Is(got, test.err) || errors.As(got, &failed) != (of.want && ctx.Err() == nil) {
					t.Errorf("%s, %v, context %v: got %#v, want a batchError: %v", name, test.err, ctx.Err(), got, of.want)
				}
			}
		}
	}
}
