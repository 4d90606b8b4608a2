// Package admission shares slots for concurrent work between tenants.
//
// A [Controller] is the one admission control of the project: one for each kind of work that is bounded (requests,
// files, bodies, pushes, streams, SQL, database readers). Four rules hold at every moment, whatever callers do:
//
//   - at most Total slots are in use, at most PerTenant of them by one tenant and at most PerKey by one key;
//   - PerTenant is less than Total, so no tenant can take every slot;
//   - the last slots (a reserve of one eighth, at least one) are granted only to tenants that hold none, so a tenant's
//     first slot never waits for another tenant's second;
//   - waiting tenants are served in turn, one slot each, and the callers of one tenant in order of arrival. A caller
//     that waits for its own key's or tenant's share does not block other callers.
//
// The queue is bounded in total and per tenant. When it is full, a caller of the tenant with the most waiting callers
// is refused, so no tenant can fill the queue for others.
package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// The reasons for which a caller gets no slot. Each is a share that is used up.
var (
	ErrTotal  = errors.New("all slots are in use")
	ErrTenant = errors.New("all slots of the tenant are in use")
	ErrKey    = errors.New("all slots of the key are in use")
)

// Limits are the shares of a [Controller].
type Limits struct {
	Total     int // slots, at least 2
	PerTenant int // slots of one tenant; reduced to Total-1
	PerKey    int // slots of one key; reduced to PerTenant
	// Waiters and WaitersPerTenant bound the queue, in callers. 0 means unbounded.
	Waiters, WaitersPerTenant int
	// MaxWait bounds the time in the queue. 0 means until the context ends.
	MaxWait time.Duration
}

// Stats are the state of a [Controller] and its refusals since the start.
type Stats struct {
	Active, Waiting                         int
	RefusedTotal, RefusedTenant, RefusedKey int64
}

// Controller hands out slots. It is safe for concurrent use.
type Controller struct {
	limits  Limits
	reserve int // slots that only tenants without a slot may take

	mu      sync.Mutex
	stats   Stats
	tenants map[uuid.UUID]*tenant // those with a slot or a waiting caller
	turns   []*tenant             // those with a waiting caller; the first is next
}

type tenant struct {
	id      uuid.UUID
	active  int
	keys    map[uuid.UUID]int // slots in use by key
	waiting []*waiter         // in order of arrival
}

type waiter struct {
	tenant *tenant
	key    uuid.UUID
	done   chan struct{} // closed when the wait is over
	err    error         // set before done is closed; nil: the waiter has a slot
}

// New returns a controller. It panics if Total is less than 2: with one slot, one tenant could keep all others out.
func New(limits Limits) *Controller {
	if limits.Total < 2 {
		panic(fmt.Sprintf("admission: total of %d slots is less than 2", limits.Total))
	}
	limits.PerTenant = min(max(limits.PerTenant, 1), limits.Total-1)
	limits.PerKey = min(max(limits.PerKey, 1), limits.PerTenant)
	return &Controller{limits: limits, reserve: max(limits.Total/8, 1), tenants: map[uuid.UUID]*tenant{}}
}

// Acquire waits for a slot. release returns the slot and may be called more than once. The error is ErrTotal, ErrTenant
// or ErrKey if no slot became free in time or the queue is full, and the context's cause if the context ends first.
func (c *Controller) Acquire(ctx context.Context, tenant, key uuid.UUID) (release func(), err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w := c.enqueue(tenant, key)
	select {
	case <-w.done: // the common case needs no timer
	default:
		c.wait(ctx, w)
	}
	if w.err != nil {
		return nil, w.err
	}
	return sync.OnceFunc(func() { c.release(w) }), nil
}

// wait waits until w has a slot, is refused, or has waited long enough. Then w.done is closed.
func (c *Controller) wait(ctx context.Context, w *waiter) {
	var expired <-chan time.Time
	if c.limits.MaxWait > 0 {
		timer := time.NewTimer(c.limits.MaxWait)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-w.done:
		return
	case <-expired:
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-w.done: // it was admitted or refused at the same moment
		return
	default:
	}
	if ctx.Err() != nil {
		c.drop(w, context.Cause(ctx))
	} else {
		c.refuse(w)
	}
}

// enqueue adds a caller to the queue, and grants slots that are free. If the queue is then too long, it refuses one
// caller.
func (c *Controller) enqueue(id, key uuid.UUID) *waiter {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tenants[id]
	if t == nil {
		t = &tenant{id: id, keys: map[uuid.UUID]int{}}
		c.tenants[id] = t
	}
	w := &waiter{tenant: t, key: key, done: make(chan struct{})}
	if t.waiting = append(t.waiting, w); len(t.waiting) == 1 {
		c.turns = append(c.turns, t)
	}
	c.stats.Waiting++
	c.admit()
	if most := c.limits.WaitersPerTenant; most > 0 && len(t.waiting) > most {
		c.refuse(t.waiting[len(t.waiting)-1])
	}
	if most := c.limits.Waiters; most > 0 && c.stats.Waiting > most {
		longest := slices.MaxFunc(c.turns, func(a, b *tenant) int { return len(a.waiting) - len(b.waiting) })
		c.refuse(longest.waiting[len(longest.waiting)-1])
	}
	return w
}

// admit grants slots in turn while a waiting caller may have one. The caller holds mu.
func (c *Controller) admit() {
	for i := 0; i < len(c.turns) && c.stats.Active < c.limits.Total; {
		t := c.turns[i]
		w := c.next(t)
		if w == nil {
			i++ // this tenant waits for its own share
			continue
		}
		c.drop(w, nil)
		c.stats.Active++
		t.active++
		t.keys[w.key]++
		if len(t.waiting) > 0 { // its next turn is after those of all others
			c.turns = append(slices.Delete(c.turns, i, i+1), t)
		}
	}
}

// next returns the tenant's first waiting caller that may have a slot now, or nil. The caller holds mu.
func (c *Controller) next(t *tenant) *waiter {
	if c.share(t) != nil {
		return nil
	}
	for _, w := range t.waiting {
		if t.keys[w.key] < c.limits.PerKey {
			return w
		}
	}
	return nil
}

// share returns the error of the share that keeps the tenant from one more slot, or nil if the tenant may have one. The
// caller holds mu.
func (c *Controller) share(t *tenant) error {
	free := c.limits.Total - c.stats.Active
	switch {
	case t.active >= c.limits.PerTenant:
		return ErrTenant
	case free <= 0 || t.active > 0 && free <= c.reserve:
		return ErrTotal
	}
	return nil
}

// refuse ends the wait of w with the error of the share that is used up. The caller holds mu.
func (c *Controller) refuse(w *waiter) {
	err := c.share(w.tenant)
	if w.tenant.keys[w.key] >= c.limits.PerKey {
		err = ErrKey
	}
	switch {
	case errors.Is(err, ErrKey):
		c.stats.RefusedKey++
	case errors.Is(err, ErrTenant):
		c.stats.RefusedTenant++
	default:
		err = ErrTotal
		c.stats.RefusedTotal++
	}
	c.drop(w, err)
}

// drop removes w from the queue and ends its wait. The caller holds mu.
func (c *Controller) drop(w *waiter, err error) {
	t := w.tenant
	i := slices.Index(t.waiting, w)
	t.waiting = slices.Delete(t.waiting, i, i+1)
	c.stats.Waiting--
	if len(t.waiting) == 0 {
		i := slices.Index(c.turns, t)
		c.turns = slices.Delete(c.turns, i, i+1)
		if t.active == 0 && err != nil {
			delete(c.tenants, t.id)
		}
	}
	w.err = err
	close(w.done)
}

// release returns the slot of w, and grants the slots that are free to waiting callers.
func (c *Controller) release(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := w.tenant
	c.stats.Active--
	t.active--
	if t.keys[w.key]--; t.keys[w.key] == 0 {
		delete(t.keys, w.key)
	}
	if t.active == 0 && len(t.waiting) == 0 {
		delete(c.tenants, t.id)
	}
	c.admit()
}

// Stats returns the state at this moment.
func (c *Controller) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stats
}

// Limits returns the shares.
func (c *Controller) Limits() Limits { return c.limits }
