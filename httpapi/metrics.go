package httpapi

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/warehouse/schema"
)

// metrics are the Prometheus metrics of the API.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	rows     *prometheus.CounterVec
	unlogged prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, slots Slots) metrics {
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "voicory_http_requests_total",
			Help: "Requests answered, by route, method and status (499: the client left before)."},
			[]string{"route", "method", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "voicory_http_request_duration_seconds",
			Help:    "Time from a request's arrival to its answer's last byte.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16)}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "voicory_http_requests_in_flight",
			Help: "Requests that are being answered."}),
		rows: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "voicory_pushed_rows_total",
			Help: "Rows that clients pushed, by dataset and what became of them."}, []string{"dataset", "outcome"}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{Name: "voicory_http_requests_unlogged_total",
			Help: "Requests without a valid key that were not logged, " +
				"because their address or all of them had used up their share of the log."}),
	}
	if registry == nil {
		return m
	}
	m.requests, m.duration = register(registry, m.requests), register(registry, m.duration)
	m.inFlight, m.rows = register(registry, m.inFlight), register(registry, m.rows)
	m.unlogged = register(registry, m.unlogged)
	register(registry, slotMetrics(slots))
	return m
}

// register registers a metric. It returns the metric that was registered before, if another handler has: the handlers
// of a server share their metrics.
func register[C prometheus.Collector](registry prometheus.Registerer, metric C) C {
	err := registry.Register(metric)
	if registered := (prometheus.AlreadyRegisteredError{}); errors.As(err, &registered) {
		return registered.ExistingCollector.(C)
	} else if err != nil {
		panic(err) // the metrics of this package are valid
	}
	return metric
}

// methods are the values of the method label. Any other method is counted as "other", so that a client cannot
// create new time series.
var methods = []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}

// done counts a finished request.
func (m metrics) done(state *requestState, method string, took time.Duration) {
	if !slices.Contains(methods, method) {
		method = "other"
	}
	m.requests.WithLabelValues(state.route, method, strconv.Itoa(state.Status)).Inc()
	m.duration.WithLabelValues(state.route).Observe(took.Seconds())
}

// pushed counts the rows of a push, or the merged part of them if it failed.
func (m metrics) pushed(dataset schema.Dataset, c schema.Counts) {
	for outcome, rows := range map[string]int64{"new": c.New, "changed": c.Changed, "unchanged": c.Unchanged,
		"deleted": c.Deleted, "superseded": c.Superseded, "erased": c.Erased, "refused": c.Refused} {
		if rows > 0 {
			m.rows.WithLabelValues(dataset.Name, outcome).Add(float64(rows))
		}
	}
}
