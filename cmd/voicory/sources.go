package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/folder"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/voicory"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Kinds of source.
const (
	kindPostgres = "postgres"
	kindVoicory  = "voicory"
	kindFiles    = "files"
)

// sourceSpec describes a source to pull from. It contains secrets, so it is sent to a running server over the admin
// socket and nowhere else.
type sourceSpec struct {
	Kind    string        `json:"kind"`
	DSN     string        `json:"dsn"`       // postgres: connection string of the platform's database
	BaseURL string        `json:"base_url"`  // voicory: base URL of the API
	APIKey  string        `json:"api_key"`   // voicory: key of the tenant's account there
	Path    string        `json:"path"`      // files: folder
	Dataset string        `json:"dataset"`   // files: dataset of all files; "": from the file names
	Tenant  uuid.UUID     `json:"tenant_id"` // voicory, files: tenant of the rows; files, zero: from user_id of each row
	Details bool          `json:"details"`   // voicory: request each call for its stt_minutes and tts_characters
	Window  time.Duration `json:"window"`    // postgres, voicory: how far back a run reads rows again

	// postgres: share of the customers and keys that a run may delete because they are missing, in percent
	MaxDeleted schema.DeletionLimit `json:"max_deleted"`
}

// open returns the source that the spec describes, or warehouse.ErrInvalid if the spec is invalid.
func (s sourceSpec) open(
	w *warehouse.Warehouse, log *slog.Logger, progress func(done, total int64),
) (ingest.Source, error) {
	switch s.Kind {
	case kindPostgres:
		return s.openPostgres(w, log, progress)
	case kindVoicory:
		return voicory.New(voicory.Options{
			BaseURL: s.BaseURL, APIKey: s.APIKey, Tenant: s.Tenant, Details: s.Details, Window: s.Window, Log: log,
			Progress: func(p voicory.Progress) { progress(p.Rows, p.Total) },
		})
	case kindFiles:
		return folder.New(folder.Options{Path: s.Path, Tenant: s.Tenant, Dataset: s.Dataset, Files: w, Log: log})
	}
	return nil, fmt.Errorf("%w: unknown kind of source %q; want %s, %s or %s",
		warehouse.ErrInvalid, s.Kind, kindPostgres, kindVoicory, kindFiles)
}

// openPostgres returns a PostgreSQL source that imports API keys into w and finds deleted customers among those of w.
func (s sourceSpec) openPostgres(
	w *warehouse.Warehouse, log *slog.Logger, progress func(done, total int64),
) (source *postgres.Source, err error) {
	source, err = postgres.New(postgres.Options{DSN: s.DSN, Window: s.Window, Progress: progress, Log: log,
		MaxDeleted: s.MaxDeleted,
		Keys: func(ctx context.Context, keys []postgres.Key) error {
			imported := make([]control.ImportedKey, len(keys))
			for i, key := range keys {
				imported[i] = control.ImportedKey(key)
			}
			return w.ImportKeys(ctx, control.KeySource{
				Name: source.Name(), Former: source.FormerName(), Limit: s.MaxDeleted,
			}, imported)
		},
		Known: func(ctx context.Context, after postgres.Customer, limit int) ([]postgres.Customer, error) {
			known, err := w.CustomersAfter(ctx, warehouse.Customer(after), limit)
			customers := make([]postgres.Customer, len(known))
			for i, customer := range known {
				customers[i] = postgres.Customer(customer)
			}
			return customers, err
		}})
	return source, err
}

// sources pulls rows into a warehouse, either once for a command or on the schedule of its jobs.
type sources struct {
	w      *warehouse.Warehouse
	runner *ingest.Runner
	jobs   []ingest.Job
}

func newSources(w *warehouse.Warehouse) *sources {
	return &sources{w: w, runner: ingest.NewRunner(w)}
}

// Sync pulls from a source once and returns the counts of the run.
func (s *sources) Sync(
	ctx context.Context, spec sourceSpec, progress func(done, total int64),
) (total syncSummary, err error) {
	source, err := spec.open(s.w, slog.New(slog.DiscardHandler), progress) // the summary has the same information
	if err != nil {
		return total, err
	}
	total.Summary, err = s.runner.Pull(ctx, source, spec.Tenant)
	total.Reasons = total.Summary.Reasons
	total.Missing = []string{} // [] in JSON instead of null
	if source, ok := source.(*postgres.Source); ok {
		total.Missing, total.Unread = append(total.Missing, source.Missing()...), source.Unread()
	}
	return total, err
}

// add adds a job for each source of the config. It returns warehouse.ErrInvalid if a source is invalid or configured
// twice.
func (s *sources) add(config config, log *slog.Logger) error {
	for name, c := range config.Sources {
		spec, err := c.spec()
		if err != nil {
			return fmt.Errorf("sources.%s.%w", name, err)
		}
		source, err := spec.open(s.w, log.With("source", name), func(int64, int64) {})
		if err != nil {
			return fmt.Errorf("sources.%s.%s: %w", name, spec.Kind, err)
		}
		s.jobs = append(s.jobs, ingest.Job{Name: name, Source: source, Tenant: spec.Tenant, Every: c.Every})
	}
	slices.SortFunc(s.jobs, func(a, b ingest.Job) int { return strings.Compare(a.Name, b.Name) })
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

// loops returns one function per job, which runs the job on its schedule until its context is done.
func (s *sources) loops(log *slog.Logger) (loops []func(context.Context)) {
	for _, job := range s.jobs {
		loops = append(loops, func(ctx context.Context) { s.runner.Repeat(ctx, job, log) })
	}
	return loops
}

// States of a source.
const (
	sourceWaiting     = "waiting"     // no run has started yet
	sourceRunning     = "running"     // a run is in progress
	sourceDone        = "ok"          // the last run succeeded
	sourceStopped     = "stopped"     // the last run was cancelled; the next one resumes it
	sourceInterrupted = "interrupted" // the process died during the last run; the next one resumes it
	sourceFailing     = "failing"     // the last run failed
)

// sourceStatus is the state of a source and its last run, as `voicory sources` prints it.
type sourceStatus struct {
	Name  string `json:"name"`  // name in the config; "" for a source that only a command has pulled from
	Every string `json:"every"` // pause between two runs; "" if the source has no schedule
	State string `json:"state"`
	control.SourceRun
}

// Sources returns the jobs, and then the sources that only a command has pulled from.
func (s *sources) Sources(ctx context.Context) ([]sourceStatus, error) {
	runs, running, err := s.runner.Runs(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]sourceStatus, 0, len(s.jobs))
	for _, job := range s.jobs {
		status := sourceStatus{
			Name: job.Name, Every: job.Every.String(), State: sourceWaiting,
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
		list = append(list, sourceStatus{State: stateOf(run, running[run.Source]), SourceRun: run})
	}
	return list, nil
}

// stateOf returns the state of a source after its last run. Cancelled runs have an error but do not count as failures.
func stateOf(run control.SourceRun, running bool) string {
	switch {
	case running:
		return sourceRunning
	case run.EndedAt == nil:
		return sourceInterrupted
	case run.Error == "":
		return sourceDone
	case run.Failures == 0:
		return sourceStopped
	}
	return sourceFailing
}

// checks returns one check of /readyz per job. They are not required: if a source fails, the server still serves the
// rows that it has.
func (s *sources) checks() (checks []httpapi.Check) {
	for _, job := range s.jobs {
		checks = append(checks, httpapi.Check{Name: "source " + job.Name, Run: func(ctx context.Context) error {
			list, err := s.Sources(ctx)
			if err != nil {
				return err
			}
			for _, status := range list {
				if status.Name == job.Name && status.Failures > 0 {
					return fmt.Errorf("%d runs have failed since the last success (%s): %s",
						status.Failures, timeOrNever(status.AsOf), status.Error)
				}
			}
			return nil
		}})
	}
	return checks
}

// timeOrNever returns t in UTC as RFC 3339, or "never" if t is nil.
func timeOrNever(t *time.Time) string {
	if t == nil {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type sourcesCommand struct{}

// Run prints the sources with the counts of their last runs, and then their errors.
func (c *sourcesCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(api admin) error {
		list, err := api.Sources(ctx)
		if err != nil {
			return err
		}
		return m.printResult(f, list, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tSTATE\tAS OF\tEVERY\tREAD\tNEW\tCHANGED\tDELETED\tREFUSED\tSOURCE")
			for _, s := range list {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n",
					cmp.Or(s.Name, "-"), s.State, timeOrNever(s.AsOf), cmp.Or(s.Every, "-"),
					s.Rows.Read, s.Rows.New, s.Rows.Changed, s.Rows.Deleted, s.Rows.Refused, printable(s.Source))
			}
			_ = table.Flush() // errors of stdout are ignored, as for every other output
			for _, s := range list {
				if s.Error != "" {
					fmt.Fprintf(w, "%s: %s\n", cmp.Or(s.Name, s.Source), printable(s.Error))
				}
			}
		})
	})
}

var (
	lagMetric = prometheus.NewDesc("voicory_source_lag_seconds",
		"Seconds since the start of the last successful run, or since the server started if none has succeeded.",
		[]string{"source"}, nil)
	runsMetric     = prometheus.NewDesc("voicory_source_runs_total", "Finished runs.", []string{"source"}, nil)
	failuresMetric = prometheus.NewDesc("voicory_source_failures_total", "Failed runs.", []string{"source"}, nil)
	rowsMetric     = prometheus.NewDesc("voicory_source_rows_total", "Rows read, by outcome.",
		[]string{"source", "outcome"}, nil)
)

// Describe implements prometheus.Collector.
func (s *sources) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagMetric, runsMetric, failuresMetric, rowsMetric} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. The label source is the name of the job in the config.
func (s *sources) Collect(metrics chan<- prometheus.Metric) {
	for _, job := range s.jobs {
		totals := s.runner.Totals(job.Source.Name())
		add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(d, kind, value, append([]string{job.Name}, labels...)...)
		}
		add(runsMetric, prometheus.CounterValue, float64(totals.Runs))
		add(failuresMetric, prometheus.CounterValue, float64(totals.Failures))
		for outcome, rows := range map[string]int64{
			"new": totals.Rows.New, "changed": totals.Rows.Changed, "unchanged": totals.Rows.Unchanged,
			"deleted": totals.Rows.Deleted, "superseded": totals.Rows.Superseded, "refused": totals.Rows.Refused,
		} {
			add(rowsMetric, prometheus.CounterValue, float64(rows), outcome)
		}
		add(lagMetric, prometheus.GaugeValue, time.Since(totals.AsOf).Seconds())
	}
}
