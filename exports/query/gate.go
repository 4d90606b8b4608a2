package query

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gate lets so many queries run at a time, of one asker and in all. Who comes when it is full waits for a while, first come, first served;
// whose own queries are what it waits for does not keep others back.
type gate struct {
	most, mostOfOne int
	patience        time.Duration

	mu      sync.Mutex
	running map[string]int
	all     int
	waiting []*waiter
}

type waiter struct {
	asker string
	in    chan struct{} // closed when it may go on
}

func newGate(most, mostOfOne int, patience time.Duration) *gate {
	return &gate{most: most, mostOfOne: mostOfOne, patience: patience, running: map[string]int{}}
}

// enter waits until the asker may run one more query; leave ends it. ErrTooMany says that the asker's own are too many, ErrBusy that all are.
func (g *gate) enter(ctx context.Context, asker string) (leave func(), err error) {
	w := &waiter{asker, make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.admit()
	g.mu.Unlock()
	timer := time.NewTimer(g.patience)
	defer timer.Stop()
	select {
	case <-w.in:
		return sync.OnceFunc(func() { g.leave(asker) }), nil
	case <-timer.C:
		err = ErrBusy
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-w.in: // just now
		return sync.OnceFunc(func() { g.leave(asker) }), nil
	default:
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(other *waiter) bool { return other == w })
	if ctx.Err() == nil && g.running[asker] >= g.mostOfOne {
		err = ErrTooMany
	}
	return nil, err
}

// admit lets in who can be, in the order of their coming. The caller holds mu.
func (g *gate) admit() {
	g.waiting = slices.DeleteFunc(g.waiting, func(w *waiter) bool {
		if g.all >= g.most || g.running[w.asker] >= g.mostOfOne {
			return false
		}
		g.all++
		g.running[w.asker]++
		close(w.in)
		return true
	})
}

func (g *gate) leave(asker string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.running[asker]--; g.running[asker] == 0 {
		delete(g.running, asker)
	}
	g.admit()
}
