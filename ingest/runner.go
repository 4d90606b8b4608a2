package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Job is a source that is pulled repeatedly.
type Job struct {
	Name   string // name of the source in the configuration
	Source Source
	Tenant uuid.UUID     // owner of the rows; zero if each row names its tenant
	Every  time.Duration // pause between the end of a run and the start of the next
}

// A Runner pulls sources into a warehouse and records the outcome of each run. It runs each source at most once at a
// time.
type Runner struct {
	w     *warehouse.Warehouse
	began time.Time // creation of the runner

	mu      sync.Mutex                    // guards running and totals
	running map[string]*control.SourceRun // runs in progress by source name
	totals  map[string]*Totals            // by source name
}

// Totals counts the outcomes of all runs of a source in this process.
type Totals struct {
	Runs, Failures int64
	Rows           schema.Counts // of merged portions, those of failed runs included
	// AsOf is the start of the last successful run, which may have been in an earlier process. It is the creation of
	// the runner if no run has succeeded.
	AsOf time.Time
}

// NewRunner returns a runner that pulls sources into w.
func NewRunner(w *warehouse.Warehouse) *Runner {
	return &Runner{w: w, began: time.Now(), running: map[string]*control.SourceRun{}, totals: map[string]*Totals{}}
}

// Pull merges all rows of a source that are new since its last run, and returns their summary. tenant owns the rows;
// it is zero for a source of many tenants. If Pull fails, the portions merged so far stay and the next run continues
// after them. Pull returns [warehouse.ErrBusy] if a run of the source is in progress.
func (r *Runner) Pull(ctx context.Context, source Source, tenant uuid.UUID) (total Summary, err error) {
	total.Refusals = []warehouse.Refusal{}
	if err := r.begin(ctx, source.Name()); err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, r.end(ctx, source.Name(), err)) }()
	state, err := r.w.SourceState(ctx, tenant, source.Name())
	if err != nil {
		return total, err
	}
	err = source.Pull(ctx, state, func(ctx context.Context, portion Portion) error {
		summary, err := mergePortion(ctx, r.w, tenant, source.Name(), portion)
		total.Add(summary)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running[source.Name()].Rows = total.Counts
		r.totals[source.Name()].Rows.Add(summary.Counts)
		return err
	})
	return total, err
}

// begin records the start of a run. It returns warehouse.ErrBusy if a run of the source is in progress.
func (r *Runner) begin(ctx context.Context, source string) error {
	runs, err := r.w.Runs(ctx)
	if err != nil {
		return err
	}
	run := control.SourceRun{Source: source}
	if i := slices.IndexFunc(runs, func(run control.SourceRun) bool { return run.Source == source }); i >= 0 {
		run.AsOf, run.Failures = runs[i].AsOf, runs[i].Failures
	}
	run.StartedAt = time.Now().UTC()
	r.mu.Lock()
	if other, ok := r.running[source]; ok {
		r.mu.Unlock()
		since := other.StartedAt.Format(time.RFC3339)
		return fmt.Errorf("%w: source %s is being pulled since %s", warehouse.ErrBusy, source, since)
	}
	r.running[source] = &run
	if r.totals[source] == nil {
		r.totals[source] = &Totals{AsOf: *cmp.Or(run.AsOf, &r.began)}
	}
	r.mu.Unlock()
	if err := r.w.SaveRun(ctx, run); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, source)
		return err
	}
	return nil
}

// stopped is the error recorded for a cancelled run. A cancelled run does not count as a failure.
const stopped = "stopped; the next run continues from there"

// end records the end of a run. failure is the error of the run, or nil. The record is written even if ctx has ended.
func (r *Runner) end(ctx context.Context, source string, failure error) error {
	r.mu.Lock()
	run := *r.running[source]
	delete(r.running, source)
	totals := r.totals[source]
	totals.Runs++
	now := time.Now().UTC()
	run.EndedAt = &now
	switch {
	case failure == nil:
		run.AsOf, run.Failures = &run.StartedAt, 0
		totals.AsOf = run.StartedAt
	case ctx.Err() != nil:
		run.Error = stopped
	default:
		run.Error = strings.Join(strings.Fields(failure.Error()), " ")
		run.Failures++
		totals.Failures++
	}
	r.mu.Unlock()
	return r.w.SaveRun(context.WithoutCancel(ctx), run)
}

// Runs returns the last run of every source that was ever pulled, sorted by name. running holds the names of the
// sources whose run is in progress in this process. Any other run without an end was interrupted by the end of its
// process.
func (r *Runner) Runs(ctx context.Context) (runs []control.SourceRun, running map[string]bool, err error) {
	if runs, err = r.w.Runs(ctx); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	running = map[string]bool{}
	for i, run := range runs {
		if now, ok := r.running[run.Source]; ok {
			runs[i], running[run.Source] = *now, true
		}
	}
	return runs, running, nil
}

// Totals returns the totals of a source in this process.
func (r *Runner) Totals(source string) Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	if totals := r.totals[source]; totals != nil {
		return *totals
	}
	return Totals{AsOf: r.began}
}

// Repeat pulls the source of a job until ctx ends, with a pause of job.Every between runs. It logs a failed run and
// continues.
func (r *Runner) Repeat(ctx context.Context, job Job, log *slog.Logger) {
	log = log.With("source", job.Name)
	logged := "" // unknown fields of the last warning, which is not repeated for the same fields
	noted := ""  // notes of the last warning
	for {
		total, err := r.Pull(ctx, job.Source, job.Tenant)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("pull failed", "error", err)
		case total.New+total.Changed+total.Deleted+total.Refused > 0:
			log.Info("pulled", "new", total.New, "changed", total.Changed, "deleted", total.Deleted,
				"refused", total.Refused, "unchanged", total.Unchanged)
		}
		if fields := strings.Join(total.Unknown, ", "); fields != "" && fields != logged {
			logged = fields
			log.Warn("unknown fields in the rows were dropped", "fields", fields)
		}
		if notes := noteTexts(total.Notes); notes != "" && notes != noted {
			noted = notes
			log.Warn("values could not be stored as they were", "fields", notes)
		}
		if total.Dropped > 0 {
			log.Warn("the quarantine is full; refused rows were dropped", "rows", total.Dropped)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(job.Every):
		}
	}
}

// noteTexts returns the fields and reasons of notes, without the numbers of rows.
func noteTexts(notes []warehouse.FieldNote) string {
	texts := make([]string, len(notes))
	for i, note := range notes {
		texts[i] = note.Field + ": " + note.Reason
	}
	return strings.Join(texts, "; ")
}
