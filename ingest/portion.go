package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// MergePortion merges the rows of a portion batch by batch. It stores the state of the portion in the transaction of
// the last batch, after all rows are read. It stores the state after the merge if the portion has no rows or rows of
// many tenants. A crash between the two makes the next pull read the rows again, which changes nothing. If the rows of
// some of many tenants could not be merged, it returns a [warehouse.UnmergedError], and the source can continue; see
// leave.
func MergePortion(ctx context.Context, w *warehouse.Warehouse, tenant uuid.UUID, source string, portion Portion,
) (Summary, error) {
	if len(portion.Files) > 0 {
		return LoadFiles(ctx, w, portion.Files, source)
	}
	summary := Summary{Refusals: []warehouse.Refusal{}}
	saved := portion.State == nil // there is nothing left to store
	state := warehouse.State{Source: source, Value: portion.State}
	var unmerged *warehouse.UnmergedError
	if tenant == uuid.Nil {
		unmerged = &warehouse.UnmergedError{}
	}
	stage := func(ctx context.Context, rows warehouse.Rows) (*warehouse.Staged, error) {
		return w.Stage(ctx, warehouse.Batch{Dataset: portion.Dataset, Tenant: portion.Tenant, Origin: source, Rows: rows,
			MissingFields: portion.Absent, NoLineNumbers: true, Inferred: portion.Inferred,
			MovedBefore: portion.MovedBefore})
	}
	merge := func(staged *warehouse.Staged, last bool) error {
		if last && !saved && unmerged.OrNil() == nil {
			staged.SetState(state)
			saved = true
		}
		return summary.merge(ctx, staged, unmerged)
	}
	batches := newBatcher(newLineReader(portion.Rows), w.MaxRow())
	err := errors.Join(loadBatches(ctx, batches, stage, merge), batches.failure())
	switch {
	case err == nil && unmerged.OrNil() != nil:
		err = leave(ctx, w, unmerged, &state)
	case err == nil && !saved:
		err = w.SaveState(ctx, tenant, state)
	}
	if err != nil {
		err = fmt.Errorf("merge %s of source %s: %w", portion.Dataset.Name, source, err)
	}
	return summary, err
}
