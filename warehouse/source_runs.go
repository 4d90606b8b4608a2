package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	statements "github.com/voicory/warehouse/sql"
)

// SourceRun is the last run of a source. Times are UTC.
type SourceRun struct {
	Source    string     `json:"source"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"` // nil: it is running, or was when the process died
	AsOf      *time.Time `json:"as_of"`    // when the last run that succeeded began: what the source had then is here; nil: none has
	Failures  int64      `json:"failures"` // runs that failed since
	Error     string     `json:"error"`    // why it ended early; empty: it did not
	Rows      Counts     `json:"rows"`
}

// SaveRun keeps the run in place of the source's run before.
func (w *Warehouse) SaveRun(ctx context.Context, run SourceRun) error {
	text, err := json.Marshal(run)
	if err != nil {
		return err
	}
	tx, err := begin(ctx, w.control)
	if err == nil {
		if _, err = tx.ExecContext(ctx, statements.Fill("control/save_run", "source", statements.Text(run.Source), "run", statements.Text(string(text)))); err != nil {
			err = errors.Join(err, tx.Rollback())
		} else {
			err = tx.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("note the run of %s: %w", run.Source, w.diagnose(err))
	}
	return nil
}

// Runs lists the last run of every source, by name.
func (w *Warehouse) Runs(ctx context.Context) ([]SourceRun, error) {
	rows, err := w.control.QueryContext(ctx, statements.Get("control/runs"))
	if err != nil {
		return nil, fmt.Errorf("runs of sources: %w", err)
	}
	defer rows.Close()
	runs := []SourceRun{}
	for rows.Next() {
		var text string
		var run SourceRun
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("runs of sources: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &run); err != nil {
			return nil, fmt.Errorf("runs of sources: %w", err)
		}
		runs = append(runs, run)
	}
	return runs, rows.Err()
}
