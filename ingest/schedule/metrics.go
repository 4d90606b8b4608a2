package schedule

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/warehouse/schema"
)

// totals counts the outcomes of all runs of a source in this process.
type totals struct {
	runs, failures int64
	rows           schema.Counts // of merged portions, those of failed runs included
	// asOf is the start of the last successful run, which may have been in an earlier process. It is the creation of
	// the scheduler if no run has succeeded.
	asOf time.Time
}

// totalsOf returns the totals of a source.
func (s *Scheduler) totalsOf(source string) totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.totals[source]; t != nil {
		return *t
	}
	return totals{asOf: s.began}
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
func (s *Scheduler) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagMetric, runsMetric, failuresMetric, rowsMetric} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector. The label source is the name of the job.
func (s *Scheduler) Collect(metrics chan<- prometheus.Metric) {
	for _, job := range s.jobs {
		totals := s.totalsOf(job.Source.Name())
		add := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
			metrics <- prometheus.MustNewConstMetric(d, kind, value, append([]string{job.Name}, labels...)...)
		}
		add(runsMetric, prometheus.CounterValue, float64(totals.runs))
		add(failuresMetric, prometheus.CounterValue, float64(totals.failures))
		for outcome, rows := range map[string]int64{
			"new": totals.rows.New, "changed": totals.rows.Changed, "unchanged": totals.rows.Unchanged,
			"deleted": totals.rows.Deleted, "superseded": totals.rows.Superseded, "erased": totals.rows.Erased,
			"refused": totals.rows.Refused,
		} {
			add(rowsMetric, prometheus.CounterValue, float64(rows), outcome)
		}
		add(lagMetric, prometheus.GaugeValue, time.Since(totals.asOf).Seconds())
	}
}
