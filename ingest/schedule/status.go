package schedule

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// A State is the state of a source after its last run.
type State string

// States of a source.
const (
	Waiting     State = "waiting"     // no run has started yet
	Running     State = "running"     // a run is in progress
	Done        State = "ok"          // the last run succeeded
	Stopped     State = "stopped"     // the last run was cancelled; the next one resumes it
	Interrupted State = "interrupted" // the process died during the last run; the next one resumes it
	Failing     State = "failing"     // the last run failed
)

// Status is the state of a source and its last run.
type Status struct {
	Name  string `json:"name"`  // name of the job; "" for a source that only a command has pulled from
	Every string `json:"every"` // pause between two runs; "" if the source has no schedule
	State State  `json:"state"`
	control.SourceRun
	// Restored are the restores of tenants whose rows the next run reads again.
	Restored []warehouse.Restore `json:"restored,omitempty"`
}

// LastSuccess returns the start of the last successful run in UTC as RFC 3339, or "never".
func (s Status) LastSuccess() string {
	if s.AsOf == nil {
		return "never"
	}
	return s.AsOf.UTC().Format(time.RFC3339)
}

// Sources returns the status of the jobs, and then of the sources that only a command has pulled from.
func (s *Scheduler) Sources(ctx context.Context) ([]Status, error) {
	runs, running, err := s.runs(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Status, 0, len(s.jobs))
	for _, job := range s.jobs {
		status := Status{
			Name: job.Name, Every: job.Every.String(), State: Waiting,
			SourceRun: control.SourceRun{Source: job.Source.Name()},
		}
		runs = slices.DeleteFunc(runs, func(run control.SourceRun) bool {
			if run.Source == status.Source {
				status.SourceRun, status.State = run, stateOf(run, running[run.Source])
			}
			return run.Source == status.Source
		})
		list = append(list, status)
	}
	for _, run := range runs {
		list = append(list, Status{State: stateOf(run, running[run.Source]), SourceRun: run})
	}
	restores, err := s.w.Restores(ctx)
	if err != nil {
		return nil, err
	}
	for i, status := range list {
		if list[i].Restored, err = s.restoredSince(ctx, status, restores); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// restoredSince returns the restores of tenants whose rows a source reads again in its next run: those of tenants that
// lag behind the source, and those that came after its last successful run.
func (s *Scheduler) restoredSince(
	ctx context.Context, status Status, restores []warehouse.Restore,
) (again []warehouse.Restore, err error) {
	if len(restores) == 0 {
		return nil, nil
	}
	lags, err := s.w.Lags(ctx, status.Source)
	if err != nil {
		return nil, err
	}
	var tenant uuid.UUID
	for _, job := range s.jobs {
		if job.Source.Name() == status.Source {
			tenant = job.Tenant
		}
	}
	for _, restore := range restores {
		lagging := slices.ContainsFunc(lags, func(lag warehouse.Lag) bool { return lag.Tenant == restore.Tenant })
		since := restore.Tenant == tenant || restore.Whole && tenant == uuid.Nil
		if lagging || since && (status.AsOf == nil || status.AsOf.Before(restore.At)) {
			again = append(again, restore)
		}
	}
	return again, nil
}

// runs returns the last run of every source that was ever pulled, sorted by name. running holds the names of the
// sources whose run is in progress in this process. Any other run without an end was interrupted by the end of its
// process.
func (s *Scheduler) runs(ctx context.Context) (runs []control.SourceRun, running map[string]bool, err error) {
	if runs, err = s.w.Runs(ctx); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	running = map[string]bool{}
	for i, run := range runs {
		if now, ok := s.running[run.Source]; ok {
			runs[i], running[run.Source] = *now, true
		}
	}
	return runs, running, nil
}

// stateOf returns the state of a source after its last run. Cancelled runs have an error but do not count as failures.
func stateOf(run control.SourceRun, running bool) State {
	switch {
	case running:
		return Running
	case run.EndedAt == nil:
		return Interrupted
	case run.Error == "":
		return Done
	case run.Failures == 0:
		return Stopped
	}
	return Failing
}
