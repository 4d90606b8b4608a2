package bucket

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	lagMetric = prometheus.NewDesc("voicory_bucket_lag_seconds",
		"Age of the oldest publication that is not in the bucket of the lake; 0 if all are.", nil, nil)
	pendingMetric = prometheus.NewDesc("voicory_bucket_pending_tenants",
		"Tenants with publications that are not in the bucket of the lake.", nil, nil)
	requestsMetric = prometheus.NewDesc("voicory_bucket_requests_total",
		"Requests sent to the bucket of the lake, by HTTP method.", []string{"method"}, nil)
	failuresMetric = prometheus.NewDesc("voicory_bucket_failed_requests_total",
		"Requests to the bucket of the lake without an answer or with a status of 500 or more.", nil, nil)
	bytesMetric = prometheus.NewDesc("voicory_bucket_sent_bytes_total",
		"Bytes sent to the bucket of the lake, in requests that may have failed.", nil, nil)
)

// Describe implements prometheus.Collector.
func (r *Replicator) Describe(descriptions chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{lagMetric, pendingMetric, requestsMetric, failuresMetric, bytesMetric} {
		descriptions <- d
	}
}

// Collect implements prometheus.Collector.
func (r *Replicator) Collect(metrics chan<- prometheus.Metric) {
	lag, pending := r.lag()
	metrics <- prometheus.MustNewConstMetric(lagMetric, prometheus.GaugeValue, lag.Seconds())
	metrics <- prometheus.MustNewConstMetric(pendingMetric, prometheus.GaugeValue, float64(pending))
	counts := r.client.counts
	for i, method := range methods {
		metrics <- prometheus.MustNewConstMetric(
			requestsMetric, prometheus.CounterValue, float64(counts.sent[i].Load()), method)
	}
	metrics <- prometheus.MustNewConstMetric(failuresMetric, prometheus.CounterValue, float64(counts.failed.Load()))
	metrics <- prometheus.MustNewConstMetric(bytesMetric, prometheus.CounterValue, float64(counts.bytes.Load()))
}

// lag returns the age of the oldest publication that is not in the bucket, and the number of tenants that have one.
func (r *Replicator) lag() (oldest time.Duration, tenants int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	for _, state := range r.tenants {
		if since := state.lagsSince(); !since.IsZero() {
			oldest = max(oldest, now.Sub(since))
			tenants++
		}
	}
	return oldest, tenants
}
