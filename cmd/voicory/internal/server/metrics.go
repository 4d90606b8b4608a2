package server

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// newRegistry returns a registry with the metrics of the process and of the warehouse.
func newRegistry(w *warehouse.Warehouse) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "voicory_request_log_dropped_total",
			Help: "Entries dropped because the request log was full.",
		}, func() float64 { return float64(w.DroppedRequests()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "voicory_quarantine_dropped_total",
			Help: "Refused rows dropped because the quarantine was full.",
		}, func() float64 { return float64(w.DroppedRefusals()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "voicory_free_bytes",
			Help: "Bytes that can still be written to the disk of the data folder.",
		}, func() float64 { return float64(w.FreeBytes()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "voicory_malloc_bytes",
			Help: "Memory that C code has allocated: DuckDB's catalogs, plans and records, without its buffers.",
		}, func() float64 { return float64(duckdb.AllocatedBytes()) }),
		unknownFields{w}, conditions{w}, memoryUse{w})
	return registry
}

// conditions is a metric with one series for each kind of condition.
type conditions struct{ *warehouse.Warehouse }

var conditionsMetric = prometheus.NewDesc("voicory_conditions",
	"Known failures of tenants and of the data folder, by kind; `voicory tenants list` and /readyz of the operator's "+
		"listener have the details.", []string{"kind"}, nil)

// maxDetails bounds the number of series of details, as a full disk can be a condition of every tenant.
const maxDetails = 100

var detailsMetric = prometheus.NewDesc("voicory_condition_info",
	"1 for each known failure, at most 100, with the tenant and the affected file or folder, if it has one.",
	[]string{"tenant_id", "kind", "subject"}, nil)

// Describe implements prometheus.Collector.
func (conditions) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- conditionsMetric
	descriptions <- detailsMetric
}

// Collect implements prometheus.Collector.
func (c conditions) Collect(metrics chan<- prometheus.Metric) {
	counts := map[warehouse.ConditionKind]int{}
	for i, condition := range c.Conditions() {
		counts[condition.Kind]++
		if i < maxDetails {
			tenant := ""
			if condition.Tenant != uuid.Nil {
				tenant = condition.Tenant.String()
			}
			metrics <- prometheus.MustNewConstMetric(detailsMetric, prometheus.GaugeValue, 1,
				tenant, string(condition.Kind), condition.Subject)
		}
	}
	for _, kind := range warehouse.ConditionKinds {
		metrics <- prometheus.MustNewConstMetric(
			conditionsMetric, prometheus.GaugeValue, float64(counts[kind]), string(kind))
	}
}

// memoryUse has the memory of DuckDB, by kind of use.
type memoryUse struct{ *warehouse.Warehouse }

// memoryUseTimeout bounds the query of a scrape.
const memoryUseTimeout = 5 * time.Second

var (
	memoryMetric = prometheus.NewDesc("voicory_duckdb_memory_bytes",
		"Memory of DuckDB, by kind of use; the sum is at most --memory-limit.", []string{"tag"}, nil)
	spilledMetric = prometheus.NewDesc("voicory_duckdb_spilled_bytes",
		"Bytes in temporary files of DuckDB, by kind of use.", []string{"tag"}, nil)
)

// Describe implements prometheus.Collector.
func (memoryUse) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- memoryMetric
	descriptions <- spilledMetric
}

// Collect implements prometheus.Collector. If DuckDB cannot be queried, the metrics are missing in this scrape.
func (m memoryUse) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), memoryUseTimeout)
	defer cancel()
	uses, err := m.MemoryUse(ctx)
	if err != nil {
		return
	}
	for _, use := range uses {
		metrics <- prometheus.MustNewConstMetric(memoryMetric, prometheus.GaugeValue, use.Bytes, use.Tag)
		metrics <- prometheus.MustNewConstMetric(spilledMetric, prometheus.GaugeValue, use.Spilled, use.Tag)
	}
}

// unknownFields is a metric with one series for each field of ingested rows that its dataset does not have.
type unknownFields struct{ *warehouse.Warehouse }

var unknownMetric = prometheus.NewDesc("voicory_unknown_field_info",
	"1 for each unknown field in rows ingested since the start; unknown fields are not stored.",
	[]string{"dataset", "field"}, nil)

// Describe implements prometheus.Collector.
func (unknownFields) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- unknownMetric }

// Collect implements prometheus.Collector.
func (u unknownFields) Collect(metrics chan<- prometheus.Metric) {
	for _, field := range u.UnknownFields() {
		metrics <- prometheus.MustNewConstMetric(unknownMetric, prometheus.GaugeValue, 1, field.Dataset, field.Name)
	}
}

// lakeCache is the metrics of the published files on this disk, if the others are in the bucket of the lake only.
type lakeCache struct{ *warehouse.Warehouse }

var (
	cacheBytesMetric = prometheus.NewDesc("voicory_lake_cache_bytes",
		"Bytes of current published files on this disk.", nil, nil)
	cacheFilesMetric = prometheus.NewDesc("voicory_lake_cache_files",
		"Current published files on this disk.", nil, nil)
	cacheUseMetric = prometheus.NewDesc("voicory_lake_cache_in_use_bytes",
		"Bytes of the files that SQL statements use, or that are being fetched.", nil, nil)
	cacheEvictedMetric = prometheus.NewDesc("voicory_lake_cache_evicted_files_total",
		"Published files removed from this disk.", nil, nil)
	cacheEvictedBytesMetric = prometheus.NewDesc("voicory_lake_cache_evicted_bytes_total",
		"Bytes of published files removed from this disk.", nil, nil)
	cacheFetchedMetric = prometheus.NewDesc("voicory_lake_cache_fetched_files_total",
		"Published files fetched from the bucket of the lake.", nil, nil)
	cacheFetchedBytesMetric = prometheus.NewDesc("voicory_lake_cache_fetched_bytes_total",
		"Bytes of published files fetched from the bucket of the lake.", nil, nil)
	cacheFailuresMetric = prometheus.NewDesc("voicory_lake_cache_failed_fetches_total",
		"Published files that could not be fetched from the bucket of the lake.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c lakeCache) Describe(descriptions chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descriptions)
}

// Collect implements prometheus.Collector.
func (c lakeCache) Collect(metrics chan<- prometheus.Metric) {
	stats, _ := c.LakeCacheStats()
	for _, m := range []struct {
		metric *prometheus.Desc
		kind   prometheus.ValueType
		value  int64
	}{
		{cacheBytesMetric, prometheus.GaugeValue, stats.Bytes},
		{cacheFilesMetric, prometheus.GaugeValue, stats.Files},
		{cacheUseMetric, prometheus.GaugeValue, stats.InUse},
		{cacheEvictedMetric, prometheus.CounterValue, stats.Evicted},
		{cacheEvictedBytesMetric, prometheus.CounterValue, stats.EvictedBytes},
		{cacheFetchedMetric, prometheus.CounterValue, stats.Fetched},
		{cacheFetchedBytesMetric, prometheus.CounterValue, stats.FetchedBytes},
		{cacheFailuresMetric, prometheus.CounterValue, stats.Failures},
	} {
		metrics <- prometheus.MustNewConstMetric(m.metric, m.kind, float64(m.value))
	}
}
