package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/admission"
	"github.com/voicory/warehouse/warehouse/control"
)

// Work is a kind of work with its own slots.
type Work string

// The kinds of work. A request holds a slot of its kind until its response has been produced. If the response is
// held in memory, the slot is released before the response is sent, see [unsent]. Other responses are sent while
// they are produced, and their clients must keep a minimum pace, see [web.Pace].
const (
	Requests Work = "requests" // lists, details and analytics
	Files    Work = "files"    // published files and databases, while they are sent
	Bodies   Work = "bodies"   // bodies of queries and first parts of pushes, while they are received
	Pushes   Work = "pushes"   // pushes after their first part has arrived, while they are merged
	Streams  Work = "exports"  // exports, while they are streamed, and databases, while they are written
	Queries  Work = "queries"  // SQL statements
)

// Slots holds the admission controller for each kind of work.
type Slots map[Work]*admission.Controller

// maxWait bounds the time that a request waits for a slot. It is longer than several list requests take, and
// shorter than usual client timeouts.
const maxWait = 5 * time.Second

// Bounds of queues and slots. A waiting request costs a connection and about 50 KB.
const (
	maxWaiters         = 1024 // in each queue
	maxTenantWaiters   = 256
	slowWorkers        = 4  // slots of pushes, exports and queries: each of these uses all cores or much memory
	maxReceivedBodies  = 64 // each holds at most maxQueryBody
	minConcurrentSlots = 2
)

// DefaultConcurrent is the default number of concurrent requests of a server.
const DefaultConcurrent = 64

// NewSlots returns the controllers for a server with the number of concurrent requests, at least 2. A tenant may
// hold half of the slots of each kind. A key may hold half of the slots of its tenant. For pushes, exports and
// queries a key may hold all 2 slots of its tenant.
func NewSlots(concurrent int) Slots {
	limits := func(total, perKey int) *admission.Controller {
		return admission.New(admission.Limits{Total: total, PerTenant: total / 2, PerKey: perKey,
			Waiters: maxWaiters, WaitersPerTenant: maxTenantWaiters, MaxWait: maxWait})
	}
	concurrent = max(concurrent, minConcurrentSlots)
	slots := Slots{
		Requests: limits(concurrent, concurrent/4),
		Files:    limits(concurrent, concurrent/4),
		Bodies:   limits(maxReceivedBodies, maxReceivedBodies/4),
	}
	for _, slow := range []Work{Pushes, Streams, Queries} {
		slots[slow] = limits(slowWorkers, slowWorkers/2)
	}
	return slots
}

// acquire waits for a slot of the work for a request with the key. It returns a 429 problem if the key or its
// tenant holds all of its slots, or a 503 problem if the server is busy.
func (a *api) acquire(ctx context.Context, work Work, key control.Key) (release func(), err error) {
	release, err = a.Slots[work].Acquire(ctx, key.Tenant, key.ID)
	if err == nil {
		return release, nil
	}
	busy := web.Problem{Status: http.StatusTooManyRequests, Code: "RATE_LIMIT_EXCEEDED", RetryAfter: 1}
	switch limits := a.Slots[work].Limits(); {
	case errors.Is(err, admission.ErrKey):
		busy.Message = fmt.Sprintf("Rate limit exceeded. Maximum %d %s at a time with one key.", limits.PerKey, work)
	case errors.Is(err, admission.ErrTenant):
		busy.Message = fmt.Sprintf("Rate limit exceeded. Maximum %d %s at a time with all keys of an account.",
			limits.PerTenant, work)
	case errors.Is(err, admission.ErrTotal):
		busy.Status, busy.Code = http.StatusServiceUnavailable, "SERVER_BUSY"
		busy.Message = fmt.Sprintf("The server is busy with other %s", work)
	default:
		return nil, err
	}
	if work == Streams {
		busy.RetryAfter = 5
	}
	return nil, &busy
}

// unsent bounds the memory of responses that have been produced and that clients have not yet read. Within the
// bounds, a request releases its slot before its response is sent, so a slow client occupies only its connection.
// Beyond the bounds, the request keeps its slot until its response is sent, so the slots of the tenant bound the
// rest.
type unsent struct {
	mu      sync.Mutex // guards the fields below
	total   int64      // bytes
	tenants map[uuid.UUID]int64
}

// Bounds of unsent responses, in bytes. Each response counts as at least minUnsent, for its connection.
const (
	maxUnsentBytes       = 256 << 20
	maxUnsentTenantBytes = 32 << 20
	minUnsent            = 64 << 10
)

// reserve counts a response of size bytes until sent is called. It returns nil if the response exceeds a bound.
func (u *unsent) reserve(tenant uuid.UUID, size int) (sent func()) {
	bytes := max(int64(size), minUnsent)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.total+bytes > maxUnsentBytes || u.tenants[tenant]+bytes > maxUnsentTenantBytes {
		return nil
	}
	u.total += bytes
	u.tenants[tenant] += bytes
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.total -= bytes
		if u.tenants[tenant] -= bytes; u.tenants[tenant] == 0 {
			delete(u.tenants, tenant)
		}
	}
}

// held is the slot that a request holds.
type held struct {
	release func() // may be called more than once
	unsent  *unsent
	tenant  uuid.UUID
}

// produced releases the slot if the complete response, of size bytes, may wait in memory for its client. The
// caller calls sent after the response has been sent.
func (h *held) produced(size int) (sent func()) {
	if h == nil {
		return func() {}
	}
	sent = h.unsent.reserve(h.tenant, size)
	if sent == nil {
		return func() {}
	}
	h.release()
	return sent
}

// slotMetrics is a Prometheus collector for the state of all controllers.
type slotMetrics Slots

var (
	activeMetric = prometheus.NewDesc("voicory_admission_active",
		"Slots in use, by kind of work.", []string{"work"}, nil)
	waitingMetric = prometheus.NewDesc("voicory_admission_waiting",
		"Requests that wait for a slot, by kind of work.", []string{"work"}, nil)
	refusedMetric = prometheus.NewDesc("voicory_admission_refused_total",
		"Requests that got no slot in time, by kind of work and by the share that was used up: total, tenant or key.",
		[]string{"work", "share"}, nil)
)

// Describe implements prometheus.Collector.
func (slotMetrics) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- activeMetric
	descriptions <- waitingMetric
	descriptions <- refusedMetric
}

// Collect implements prometheus.Collector.
func (s slotMetrics) Collect(metrics chan<- prometheus.Metric) {
	for work, slots := range s {
		stats := slots.Stats()
		gauge := func(desc *prometheus.Desc, value float64) {
			metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, string(work))
		}
		gauge(activeMetric, float64(stats.Active))
		gauge(waitingMetric, float64(stats.Waiting))
		for share, refused := range map[string]int64{
			"total": stats.RefusedTotal, "tenant": stats.RefusedTenant, "key": stats.RefusedKey,
		} {
			metrics <- prometheus.MustNewConstMetric(refusedMetric, prometheus.CounterValue,
				float64(refused), string(work), share)
		}
	}
}
