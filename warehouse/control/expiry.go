package control

import (
	"context"
	"errors"
	"sync"
	"time"
)

// expiryCheck is the longest time between two comparisons of a key in use with the clock.
const expiryCheck = 15 * time.Second

// A keyExpiry ends the validity of a key when the wall clock reaches a time. A timer alone would follow the clock of
// its start: after a correction of the wall clock it would end a valid key, or leave an expired one valid.
type keyExpiry struct {
	at    time.Time
	now   func() time.Time
	alive context.Context // done when the key is revoked

	mu    sync.Mutex // guards the fields below
	valid context.Context
	end   context.CancelCauseFunc
	timer *time.Timer
}

func newKeyExpiry(alive context.Context, at time.Time, now func() time.Time) *keyExpiry {
	e := &keyExpiry{at: at, now: now, alive: alive}
	e.valid, e.end = context.WithCancelCause(alive)
	e.timer = time.AfterFunc(expiryCheck, func() { e.context() })
	e.context()
	return e
}

// context compares the wall clock with the expiry, and returns a context that is done when the key expires or is
// revoked. If the clock was set back, the context is a new one. The timer compares again while the key is valid.
func (e *keyExpiry) context() context.Context {
	e.mu.Lock()
	defer e.mu.Unlock()
	left := e.at.Sub(e.now()) // at has no monotonic reading, so this compares wall clocks
	if left <= 0 {
		e.end(ErrExpiredKey)
		return e.valid
	}
	if errors.Is(context.Cause(e.valid), ErrExpiredKey) {
		e.valid, e.end = context.WithCancelCause(e.alive)
	}
	if e.valid.Err() == nil {
		e.timer.Reset(min(expiryCheck, left))
	}
	return e.valid
}
