package schedule

import (
	"context"
	"slices"
	"time"

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
	return list, nil
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
