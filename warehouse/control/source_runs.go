package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A SourceRun describes the last run of a source. Times are UTC.
type SourceRun struct {
	Source    string     `json:"source"`
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at"` // nil: the run is in progress, or the process died during it
	// AsOf is the start of the last successful run; nil: no run succeeded yet. All rows that the source had then are
	// stored.
	AsOf     *time.Time    `json:"as_of"`
	Failures int64         `json:"failures"` // number of failed runs since AsOf
	Error    string        `json:"error"`    // error that ended the run; "": none
	Rows     schema.Counts `json:"rows"`
}

// SaveRun stores the run and replaces the previous run of its source.
func (d *DB) SaveRun(ctx context.Context, run SourceRun) error {
	text, err := json.Marshal(run)
	if err != nil {
		return err
	}
	tx, err := duckdb.Begin(ctx, d.db)
	if err == nil {
		_, err = tx.ExecContext(ctx, statements.Fill("control/upsert_run",
			"source", statements.Text(run.Source), "run", statements.Text(string(text))))
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		} else {
			err = tx.Commit()
		}
	}
	if err != nil {
		return fmt.Errorf("save the run of source %s: %w", run.Source, err)
	}
	return nil
}

// Runs returns the last run of every source, ordered by the name of the source.
func (d *DB) Runs(ctx context.Context) ([]SourceRun, error) {
	rows, err := d.db.QueryContext(ctx, statements.Get("control/select_runs"))
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
