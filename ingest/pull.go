package ingest

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// take merges a portion batch by batch. Its state is noted with the last one, once all of it was read; that of a file after it: a crash
// between the two has it read again.
func take(ctx context.Context, w *warehouse.Warehouse, tenant uuid.UUID, source string, portion Portion) (Summary, error) {
	summary := Summary{Refusals: []warehouse.Refusal{}}
	noted := portion.State == nil
	if portion.File != nil {
		summary, err := Load(ctx, w, *portion.File)
		if err == nil && !noted {
			err = w.SaveState(ctx, tenant, warehouse.State{Source: source, Value: portion.State})
		}
		return summary, err
	}
	stage := func(ctx context.Context, rows warehouse.Rows) (*warehouse.Staged, error) {
		return w.Stage(ctx, warehouse.Batch{Dataset: portion.Dataset, Tenant: portion.Tenant, Origin: source, Rows: rows, MissingFields: portion.Absent, NoLineNumbers: true})
	}
	err := Input{}.loadRows(ctx, newLineReader(portion.Rows), "line", stage, func(staged *warehouse.Staged, last bool) error {
		if last && !noted {
			staged.SetState(warehouse.State{Source: source, Value: portion.State})
			noted = true
		}
		return summary.merge(ctx, staged)
	})
	if err == nil && !noted {
		err = w.SaveState(ctx, tenant, warehouse.State{Source: source, Value: portion.State})
	}
	if err != nil {
		err = fmt.Errorf("take %s of %s: %w", portion.Dataset.Name, source, err)
	}
	return summary, err
}
