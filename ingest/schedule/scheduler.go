package schedule

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

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// A Job is a source that is pulled repeatedly.
type Job struct {
	Name   string // name of the source in the configuration
	Source ingest.Source
	Tenant uuid.UUID     // owner of the rows; zero if each row names its tenant
	Every  time.Duration // pause between the end of a run and the start of the next
}

// A Scheduler pulls sources into a warehouse and records the outcome of each run. It runs each source at most once at a
// time.
type Scheduler struct {
	w     *warehouse.Warehouse
	began time.Time // creation of the scheduler
	jobs  []Job     // sorted by name

	mu      sync.Mutex                    // guards running and totals
	running map[string]*control.SourceRun // runs in progress by source name
	totals  map[string]*totals            // by source name
}

// New returns a scheduler that pulls sources into w and has no jobs.
func New(w *warehouse.Warehouse) *Scheduler {
	return &Scheduler{w: w, began: time.Now(), running: map[string]*control.SourceRun{}, totals: map[string]*totals{}}
}

// Add adds jobs. It returns [warehouse.ErrInvalid] if two jobs have the same source. It must not be called after Loops.
func (s *Scheduler) Add(jobs ...Job) error {
	s.jobs = append(s.jobs, jobs...)
	slices.SortFunc(s.jobs, func(a, b Job) int { return strings.Compare(a.Name, b.Name) })
	for i, job := range s.jobs {
		for _, other := range s.jobs[:i] {
			if other.Source.Name() == job.Source.Name() {
				return fmt.Errorf("%w: sources.%s and sources.%s are the same source, %s",
					warehouse.ErrInvalid, other.Name, job.Name, job.Source.Name())
			}
		}
	}
	return nil
}

// Jobs returns the jobs, sorted by name.
func (s *Scheduler) Jobs() []Job { return s.jobs }

// Loops returns one function per job, which runs the job on its schedule until its context is done.
func (s *Scheduler) Loops(log *slog.Logger) (loops []func(context.Context)) {
	for _, job := range s.jobs {
		loops = append(loops, func(ctx context.Context) { s.repeat(ctx, job, log.With("source", job.Name)) })
	}
	return loops
}

// Pull merges all rows of a source that are new since its last run, and returns their summary. tenant owns the rows;
// it is zero for a source of many tenants. If Pull fails, the portions merged so far stay and the next run continues
// after them. Pull returns [warehouse.ErrBusy] if a run of the source is in progress.
func (s *Scheduler) Pull(
	ctx context.Context, source ingest.Source, tenant uuid.UUID,
) (total ingest.Summary, err error) {
	total.Refusals = []warehouse.Refusal{}
	if err := s.begin(ctx, source.Name()); err != nil {
		return total, err
	}
	defer func() { err = errors.Join(err, s.end(ctx, source.Name(), err)) }()
	var unmerged warehouse.UnmergedError
	if tenant == uuid.Nil {
		if err := s.pullLags(ctx, source, &total, &unmerged); err != nil {
			return total, err
		}
	}
	err = s.pull(s.w.SourceRun(ctx, tenant), source, tenant, &total, &unmerged)
	return total, errors.Join(err, unmerged.OrNil())
}

// pull merges the rows of a source that are new since its state in the context, and adds them to total. It adds the
// tenants of a source of many tenants whose rows could not be merged to unmerged: they lag, and the source continues.
func (s *Scheduler) pull(
	ctx context.Context, source ingest.Source, tenant uuid.UUID, total *ingest.Summary, unmerged *warehouse.UnmergedError,
) error {
	state, err := s.w.SourceState(ctx, tenant, source.Name())
	if err != nil {
		return err
	}
	return source.Pull(ctx, state, func(ctx context.Context, portion ingest.Portion) error {
		summary, err := ingest.MergePortion(ctx, s.w, tenant, source.Name(), portion)
		total.Add(summary)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running[source.Name()].Rows = total.Counts
		s.totals[source.Name()].rows.Add(summary.Counts)
		if failed := (*warehouse.UnmergedError)(nil); tenant == uuid.Nil && errors.As(err, &failed) {
			unmerged.Add(failed)
			return nil
		}
		return err
	})
}

// pullLags reads again the rows that tenants lack, see warehouse.Lag. Tenants whose stores cannot be opened yet are
// added to unmerged, and stay behind until a later run.
func (s *Scheduler) pullLags(
	ctx context.Context, source ingest.Source, total *ingest.Summary, unmerged *warehouse.UnmergedError,
) error {
	lags, err := s.w.Lags(ctx, source.Name())
	if err != nil {
		return err
	}
	for _, lag := range lags {
		var failed warehouse.UnmergedError
		err := s.w.CheckStore(ctx, lag.Tenant)
		switch {
		case err == nil:
			err = s.pull(warehouse.Rereading(ctx, lag), source, uuid.Nil, total, &failed)
		case errors.Is(err, warehouse.ErrTenantDeleted):
			err = nil
		case errors.Is(err, warehouse.ErrUnavailable):
			failed.Tenants, err = map[uuid.UUID]error{lag.Tenant: err}, nil
		}
		unmerged.Add(&failed)
		if err == nil && failed.OrNil() == nil {
			err = s.w.EndLag(ctx, lag)
		}
		if err != nil {
			return fmt.Errorf("read the rows of tenant %s again: %w", lag.Tenant, err)
		}
	}
	return nil
}

// begin records the start of a run. It returns warehouse.ErrBusy if a run of the source is in progress.
func (s *Scheduler) begin(ctx context.Context, source string) error {
	runs, err := s.w.Runs(ctx)
	if err != nil {
		return err
	}
	run := control.SourceRun{Source: source}
	if i := slices.IndexFunc(runs, func(run control.SourceRun) bool { return run.Source == source }); i >= 0 {
		run.AsOf, run.Failures = runs[i].AsOf, runs[i].Failures
	}
	run.StartedAt = time.Now().UTC()
	s.mu.Lock()
	if other, ok := s.running[source]; ok {
		s.mu.Unlock()
		since := other.StartedAt.Format(time.RFC3339)
		return fmt.Errorf("%w: source %s is being pulled since %s", warehouse.ErrBusy, source, since)
	}
	s.running[source] = &run
	if s.totals[source] == nil {
		s.totals[source] = &totals{asOf: *cmp.Or(run.AsOf, &s.began)}
	}
	s.mu.Unlock()
	if err := s.w.SaveRun(ctx, run); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, source)
		return err
	}
	return nil
}

// stopped is the error recorded for a cancelled run. A cancelled run does not count as a failure.
const stopped = "stopped; the next run continues from there"

// end records the end of a run. failure is the error of the run, or nil. The record is written even if ctx has ended.
func (s *Scheduler) end(ctx context.Context, source string, failure error) error {
	s.mu.Lock()
	run := *s.running[source]
	delete(s.running, source)
	totals := s.totals[source]
	totals.runs++
	now := time.Now().UTC()
	run.EndedAt = &now
	switch {
	case failure == nil:
		run.AsOf, run.Failures = &run.StartedAt, 0
		totals.asOf = run.StartedAt
	case ctx.Err() != nil:
		run.Error = stopped
	default:
		run.Error = strings.Join(strings.Fields(failure.Error()), " ")
		run.Failures++
		totals.failures++
	}
	s.mu.Unlock()
	return s.w.SaveRun(context.WithoutCancel(ctx), run)
}

// repeat pulls the source of a job until ctx ends, with a pause of job.Every between runs. It logs a failed run and
// continues.
func (s *Scheduler) repeat(ctx context.Context, job Job, log *slog.Logger) {
	logged := "" // unknown fields of the last warning, which is not repeated for the same fields
	noted := ""  // notes of the last warning
	for {
		total, err := s.Pull(ctx, job.Source, job.Tenant)
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
