package ingest

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// Pull has a source give what is new since it was pulled last, and merges it. tenant is whose rows these are, zero for a source
// of many tenants. What was merged stays merged when it ends with an error: the next pull goes on from there.
func Pull(ctx context.Context, w *warehouse.Warehouse, source Source, tenant uuid.UUID) (Summary, error) {
	total := Summary{Refusals: []warehouse.Refusal{}}
	state, err := w.SourceState(ctx, tenant, source.Name())
	if err != nil {
		return total, err
	}
	err = source.Pull(ctx, state, func(ctx context.Context, portion Portion) error {
		summary, err := take(ctx, w, tenant, source.Name(), portion)
		total.Add(summary)
		return err
	})
	return total, err
}

// take merges a portion batch by batch. Its state is noted with the last one, once all of it was read.
func take(ctx context.Context, w *warehouse.Warehouse, tenant uuid.UUID, source string, portion Portion) (Summary, error) {
	summary := Summary{Refusals: []warehouse.Refusal{}}
	noted := portion.State == nil
	stage := func(ctx context.Context, rows warehouse.Rows) (*warehouse.Staged, error) {
		return w.Stage(ctx, warehouse.Batch{Dataset: portion.Dataset, Tenant: portion.Tenant, Origin: source, Rows: rows, Absent: portion.Absent})
	}
	err := Input{}.loadRows(ctx, newLineReader(portion.Rows), "line", stage, func(staged *warehouse.Staged, last bool) error {
		if last && !noted {
			staged.Note(warehouse.State{Source: source, Value: portion.State})
			noted = true
		}
		counts, refusals, err := staged.Merge(ctx)
		summary.Counts.Add(counts)
		summary.Refusals = append(summary.Refusals, refusals...)
		return err
	})
	if err == nil && !noted {
		err = w.SaveState(ctx, tenant, warehouse.State{Source: source, Value: portion.State})
	}
	if err != nil {
		err = fmt.Errorf("take %s of %s: %w", portion.Dataset.Name, source, err)
	}
	return summary, err
}
