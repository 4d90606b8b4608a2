package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/admission"
)

// Work is a kind of work that is bounded by slots of its own.
type Work string

// The kinds of work. A request holds a slot of its kind until its answer has been produced. Answers that are held in memory return the slot
// before they are sent, see [unsent]; the others are sent while they are produced, and their clients must keep a minimum pace, see [pace].
const (
	Requests Work = "requests" // pages, details, analytics and lists
	Files    Work = "files"    // published files and databases, while they are sent
	Bodies   Work = "bodies"   // bodies of queries and the beginnings of pushes, while they are received
	Pushes   Work = "pushes"   // pushes whose beginning has arrived, while they are merged
	Streams  Work = "exports"  // exports, while they are streamed, and databases, while they are written
	Queries  Work = "queries"  // SQL statements
)

// Slots are the controllers of all kinds of work.
type Slots map[Work]*admission.Controller

// maxWait bounds the time in a queue. It is longer than several pages take, and shorter than the timeouts of clients.
const maxWait = 5 * time.Second

// Bounds of each queue. A waiting request costs a connection and about 50 KB.
const (
	maxWaiters         = 1024
	maxTenantWaiters   = 256
	slowWorkers        = 4  // pushes, exports and queries: each keeps all cores busy or holds much memory
	maxReceivedBodies  = 64 // each holds at most maxQueryBody
	minConcurrentSlots = 2
)

// DefaultConcurrent is the number of requests that a server works on at a time by default.
const DefaultConcurrent = 64

// NewSlots returns the controllers for a server that works on so many requests at a time, at least 2. A tenant may have half of the slots of
// each kind. A key may have half of its tenant's share of the cheap kinds, and all of it of the others, where that is 2 slots.
func NewSlots(concurrent int) Slots {
	limits := func(total, perKey int) *admission.Controller {
		return admission.New(admission.Limits{Total: total, PerTenant: total / 2, PerKey: perKey,
			Waiters: maxWaiters, WaitersPerTenant: maxTenantWaiters, MaxWait: maxWait})
	}
	concurrent = max(concurrent, minConcurrentSlots)
	slots := Slots{Requests: limits(concurrent, concurrent/4), Files: limits(concurrent, concurrent/4), Bodies: limits(maxReceivedBodies, maxReceivedBodies/4)}
	for _, slow := range []Work{Pushes, Streams, Queries} {
		slots[slow] = limits(slowWorkers, slowWorkers/2)
	}
	return slots
}

// acquire waits for a slot of the work for a request with the key.
func (a *api) acquire(ctx context.Context, work Work, key warehouse.Key) (release func(), err error) {
	release, err = a.Slots[work].Acquire(ctx, key.Tenant, key.ID)
	if err == nil {
		return release, nil
	}
	busy := problem{status: http.StatusTooManyRequests, code: "RATE_LIMIT_EXCEEDED", retryAfter: 1}
	switch limits := a.Slots[work].Limits(); {
	case errors.Is(err, admission.ErrKey):
		busy.message = fmt.Sprintf("Rate limit exceeded. Maximum %d %s at a time with one key.", limits.PerKey, work)
	case errors.Is(err, admission.ErrTenant):
		busy.message = fmt.Sprintf("Rate limit exceeded. Maximum %d %s at a time with all keys of an account.", limits.PerTenant, work)
	case errors.Is(err, admission.ErrTotal):
		busy.status, busy.code, busy.message = http.StatusServiceUnavailable, "SERVER_BUSY", fmt.Sprintf("The server is busy with other %s", work)
	default:
		return nil, err
	}
	if work == Streams {
		busy.retryAfter = 5
	}
	return nil, &busy
}

// unsent bounds the memory of answers that have been produced and not yet been read by their clients. Within its bounds, a request returns its
// slot before its answer is sent, so that a slow client occupies nothing but its connection. Beyond them, the request keeps its slot until the
// answer is sent, so that the tenant's share of slots bounds the rest.
type unsent struct {
	mu      sync.Mutex
	total   int64
	tenants map[uuid.UUID]int64
}

// Bounds of unsent answers, in bytes. Each answer counts as at least minUnsent, for its connection.
const (
	maxUnsentBytes       = 256 << 20
	maxUnsentTenantBytes = 32 << 20
	minUnsent            = 64 << 10
)

// reserve counts an answer of the tenant until sent is called. It returns nil if the answer does not fit.
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

// held is the slot of a request.
type held struct {
	release func() // may be called more than once
	unsent  *unsent
	tenant  uuid.UUID
}

// produced returns the slot if the whole answer, of size bytes, may wait in memory for its client. The caller calls sent after the answer has
// been sent.
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

// pace bounds how long the server waits for a client that takes or sends something long: at most `per` for each window of `bytes`. Time during
// which the server itself is busy does not count. So a client may pause, and a client that is slower than the pace is cut off within `per`.
type pace struct {
	bytes int64
	per   time.Duration

	moved  int64         // bytes in this window
	waited time.Duration // for the client in this window
}

// left returns how long the server waits for the client now.
func (p *pace) left() time.Duration { return p.per - p.waited }

// move counts bytes and the time for which the server waited for the client.
func (p *pace) move(bytes int64, waited time.Duration) {
	p.moved += bytes
	p.waited += waited
	if p.moved >= p.bytes {
		p.moved, p.waited = 0, 0
	}
}

// slotMetrics reports the state of all controllers to Prometheus.
type slotMetrics Slots

var (
	activeMetric  = prometheus.NewDesc("voicory_admission_active", "Slots in use, by kind of work.", []string{"work"}, nil)
	waitingMetric = prometheus.NewDesc("voicory_admission_waiting", "Requests that wait for a slot, by kind of work.", []string{"work"}, nil)
	refusedMetric = prometheus.NewDesc("voicory_admission_refused_total",
		"Requests that got no slot in time, by kind of work and by the share that was used up: total, tenant or key.", []string{"work", "share"}, nil)
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
		metrics <- prometheus.MustNewConstMetric(activeMetric, prometheus.GaugeValue, float64(stats.Active), string(work))
		metrics <- prometheus.MustNewConstMetric(waitingMetric, prometheus.GaugeValue, float64(stats.Waiting), string(work))
		for share, refused := range map[string]int64{"total": stats.RefusedTotal, "tenant": stats.RefusedTenant, "key": stats.RefusedKey} {
			metrics <- prometheus.MustNewConstMetric(refusedMetric, prometheus.CounterValue, float64(refused), string(work), share)
		}
	}
}

// answerPace is the pace of answers that are sent while they are produced: 17 KB/s, with pauses of at most writeGrace.
func answerPace() pace { return pace{bytes: 2 << 20, per: writeGrace} }

// pacedWriter writes an answer at the pace of its client, within bounds.
type pacedWriter struct {
	*exchange // whose status has been sent
	ctx       context.Context
	pace      pace
}

// ReadFrom hides that of the exchange, which does not keep the pace.
func (w *pacedWriter) ReadFrom(src io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, src)
}

// Write writes in parts, each of which the client must take in the time that is left.
func (w *pacedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), sendChunk)]
		start := time.Now()
		if err = w.begin(w.ctx, w.pace.left()); err != nil {
			w.begun.Store(true)
			return n, err
		}
		var sent int
		sent, err = w.exchange.Write(part)
		w.pace.move(int64(sent), time.Since(start))
		n, p = n+sent, p[sent:]
	}
	return n, err
}
