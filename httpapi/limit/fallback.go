package limit

import (
	"context"
	"sync/atomic"
	"time"
)

// A Fallback uses Redis while it responds in time, and the memory of the process otherwise. It returns to Redis by
// itself. Requests are always counted in memory as well, so that subjects do not start with an empty history if Redis
// fails.
type Fallback struct {
	shared   Limiter
	local    *Memory
	timeout  time.Duration                   // time limit for a response of shared
	retry    time.Duration                   // minimum time between a failure and the next attempt
	onChange func(healthy bool, cause error) // called when shared fails and when it has recovered

	retryAt atomic.Int64 // time of the next attempt in Unix nanoseconds; 0: shared is healthy
}

// NewFallback returns a limiter that uses shared, which is in Redis, and local. A response of Redis after timeout
// counts as a failure, and after a failure Redis is used again after retry at the earliest. changed is called when
// Redis fails and when it has recovered.
func NewFallback(
	shared Limiter, local *Memory, timeout, retry time.Duration, changed func(healthy bool, cause error),
) *Fallback {
	return &Fallback{shared: shared, local: local, timeout: timeout, retry: retry, onChange: changed}
}

// Healthy reports whether Redis responded to the last request.
func (f *Fallback) Healthy() bool { return f.retryAt.Load() == 0 }

// Take implements Limiter. It never returns an error.
func (f *Fallback) Take(ctx context.Context, subject string, rules Rules) (Decision, error) {
	local, err := f.local.Take(ctx, subject, rules)
	if err != nil {
		return local, err
	}
	retryAt := f.retryAt.Load()
	if now := time.Now(); retryAt > now.UnixNano() ||
		retryAt != 0 && !f.retryAt.CompareAndSwap(retryAt, now.Add(f.retry).UnixNano()) {
		return local, nil // it is too early to retry, or another request retries
	}
	bounded, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	shared, err := f.shared.Take(bounded, subject, rules)
	if err == nil {
		if retryAt != 0 {
			f.retryAt.Store(0)
			f.onChange(true, nil)
		}
		return shared, nil
	}
	if ctx.Err() == nil { // otherwise the client disconnected, and Redis may be healthy
		if f.retryAt.Swap(time.Now().Add(f.retry).UnixNano()) == 0 {
			f.onChange(false, err)
		}
	}
	return local, nil
}
