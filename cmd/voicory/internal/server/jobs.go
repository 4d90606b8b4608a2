package server

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
)

// addJobs adds a job for each source of the config. It returns warehouse.ErrInvalid if a source is invalid or
// configured twice.
func addJobs(sources *schedule.Scheduler, w *warehouse.Warehouse, config config, log *slog.Logger) error {
	var jobs []schedule.Job
	for name, c := range config.Sources {
		spec, err := c.spec()
		if err != nil {
			return fmt.Errorf("sources.%s.%w", name, err)
		}
		source, err := spec.Open(w, log.With("source", name), func(int64, int64) {})
		if err != nil {
			return fmt.Errorf("sources.%s.%s: %w", name, spec.Kind, err)
		}
		jobs = append(jobs, schedule.Job{Name: name, Source: source, Tenant: spec.Tenant, Every: c.Every})
	}
	return sources.Add(jobs...)
}

// sourceChecks returns one check of /readyz per job. They are not required: if a source fails, the server still serves
// the rows that it has.
func sourceChecks(sources *schedule.Scheduler) (checks []httpapi.Check) {
	for _, job := range sources.Jobs() {
		checks = append(checks, httpapi.Check{Name: "source " + job.Name, Run: func(ctx context.Context) error {
			list, err := sources.Sources(ctx)
			if err != nil {
				return err
			}
			for _, status := range list {
				if status.Name == job.Name && status.Failures > 0 {
					return fmt.Errorf("%d runs have failed since the last success (%s): %s",
						status.Failures, status.LastSuccess(), status.Error)
				}
			}
			return nil
		}})
	}
	return checks
}
