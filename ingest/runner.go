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
)

// Job is a source that is pulled again and again.
type Job struct {
	Name   string // that the operator gave it
	Source Source
	Tenant uuid.UUID     // whose rows these are, zero for a source of many tenants
	Every  time.Duration // from the end of a run to the next
}

// Runner pulls sources into a warehouse, each by one run at a time, and notes what became of each run.
type Runner struct {
	w *warehouse.Warehouse

	mu      sync.Mutex
	began   time.Time
	running map[string]*warehouse.SourceRun // by the source's name
	totals  map[string]*Totals              // likewise
}

// Totals is what became of all runs of a source since the process began.
type Totals struct {
	Runs, Failures int64
	Rows           warehouse.Counts
	AsOf           time.Time // when the last run that succeeded began, in whichever process; the runner's own beginning where none has
}

// NewRunner returns the runner of a warehouse.
func NewRunner(w *warehouse.Warehouse) *Runner {
	return &Runner{w: w, began: time.Now(), running: map[string]*warehouse.SourceRun{}, totals: map[string]*Totals{}}
}

// Pull has a source give what is new since it was pulled last, and merges it. tenant is whose rows these are, zero for a source
// of many tenants. What was merged stays merged when it ends with an error: the next pull goes on from there. While the source
// is being pulled already, that is [warehouse.ErrBusy].
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
		summary, err := take(ctx, r.w, tenant, source.Name(), portion)
		total.Add(summary)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.running[source.Name()].Rows = total.Counts
		r.totals[source.Name()].Rows.Add(summary.Counts)
		return err
	})
	return total, err
}

// begin notes that a run has begun.
func (r *Runner) begin(ctx context.Context, source string) error {
	runs, err := r.w.Runs(ctx)
	if err != nil {
		return err
	}
	run := warehouse.SourceRun{Source: source}
	if i := slices.IndexFunc(runs, func(run warehouse.SourceRun) bool { return run.Source == source }); i >= 0 {
		run.AsOf, run.Failures = runs[i].AsOf, runs[i].Failures
	}
	run.StartedAt = time.Now().UTC()
	r.mu.Lock()
	if other, ok := r.running[source]; ok {
		r.mu.Unlock()
		return fmt.Errorf("%w: %s is being pulled since %s", warehouse.ErrBusy, source, other.StartedAt.Format(time.RFC3339))
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

// stopped is said of a run that was cancelled: that is no failure.
const stopped = "stopped; the next run goes on from there"

// end notes how the run has ended: with failure, unless that is nil.
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

// Runs lists the last run of every source that was ever pulled, by name; one without an end that is not under way, as running
// says, was cut off with its process.
func (r *Runner) Runs(ctx context.Context) (runs []warehouse.SourceRun, running map[string]bool, err error) {
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

// Totals is what became of a source's runs since the process began.
func (r *Runner) Totals(source string) Totals {
	r.mu.Lock()
	defer r.mu.Unlock()
	if totals := r.totals[source]; totals != nil {
		return *totals
	}
	return Totals{AsOf: r.began}
}

// Repeat pulls a source until the context ends. A run that fails is told to the log, and the next goes on where it was.
func (r *Runner) Repeat(ctx context.Context, job Job, log *slog.Logger) {
	log = log.With("source", job.Name)
	told := "" // of unknown fields: the same are not told of again
	for {
		total, err := r.Pull(ctx, job.Source, job.Tenant)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("pull failed", "error", err)
		case total.New+total.Changed+total.Deleted+total.Refused > 0:
			log.Info("pulled", "new", total.New, "changed", total.Changed, "deleted", total.Deleted, "refused", total.Refused, "unchanged", total.Unchanged)
		}
		if fields := strings.Join(total.Unknown, ", "); fields != "" && fields != told {
			told = fields
			log.Warn("rows have fields that are not known here, and not kept", "fields", fields)
		}
		if total.Dropped > 0 {
			log.Warn("the quarantine is full: refused rows were dropped from it", "rows", total.Dropped)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(job.Every):
		}
	}
}
