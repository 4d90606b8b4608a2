package limit

import (
	"context"
	"sync/atomic"
	"time"
)

// Fallback limits in Redis while Redis answers in time, else in the memory of this process, and takes Redis up again by
// itself. Memory counts along all the time, so that no subject starts anew when Redis goes away.
type Fallback struct {
	shared  Limiter
	local   *Memory
	timeout time.Duration                   // a slower answer counts as none
	retry   time.Duration                   // between two looks at a Redis that does not answer
	changed func(healthy bool, cause error) // told when Redis goes away and when it is back

	away atomic.Int64 // when to look again, in Unix nanoseconds; 0: Redis answers
}

// NewFallback makes a limiter over shared, which is in Redis, and local.
func NewFallback(shared Limiter, local *Memory, timeout, retry time.Duration, changed func(healthy bool, cause error)) *Fallback {
	return &Fallback{shared: shared, local: local, timeout: timeout, retry: retry, changed: changed}
}

// Healthy tells whether Redis answered when it was last asked.
func (f *Fallback) Healthy() bool { return f.away.Load() == 0 }

// Take never fails.
func (f *Fallback) Take(ctx context.Context, subject string, rules Rules) (Decision, error) {
	local, err := f.local.Take(ctx, subject, rules)
	if err != nil {
		return local, err
	}
	look := f.away.Load()
	if now := time.Now(); look > now.UnixNano() || look != 0 && !f.away.CompareAndSwap(look, now.Add(f.retry).UnixNano()) {
		return local, nil // it is not time to look again, or another request does
	}
	asking, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	shared, err := f.shared.Take(asking, subject, rules)
	if err == nil {
		if look != 0 {
			f.away.Store(0)
			f.changed(true, nil)
		}
		return shared, nil
	}
	if ctx.Err() == nil { // else the client left, which says nothing of Redis
		if f.away.Swap(time.Now().Add(f.retry).UnixNano()) == 0 {
			f.changed(false, err)
		}
	}
	return local, nil
}
