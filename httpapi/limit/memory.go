package limit

import (
	"context"
	"sync"
	"time"
)

// Memory limits within this process. What it holds of a subject is at most as many times as its first rule allows, and
// nothing once that rule's window has passed.
type Memory struct {
	now func() time.Time

	mu       sync.Mutex
	passed   map[string][]time.Time // of each subject, oldest first
	sweepAt  time.Time
	sweepGap time.Duration
}

// NewMemory makes a limiter; now is the clock, time.Now but in tests.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, passed: map[string][]time.Time{}}
}

// Take never fails.
func (m *Memory) Take(_ context.Context, subject string, rules Rules) (Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now, rules[0].Window)
	times := m.passed[subject]
	for len(times) > 0 && now.Sub(times[0]) >= rules[0].Window {
		times = times[1:]
	}
	ages := make([]time.Duration, len(times))
	for i, t := range times {
		ages[i] = now.Sub(t)
	}
	d := rules.decide(ages)
	if d.Allowed {
		times = append(times, now)
	}
	m.passed[subject] = times
	return d, nil
}

// sweep forgets subjects whose last request is out of every window. It looks at all of them, but only once a window.
func (m *Memory) sweep(now time.Time, window time.Duration) {
	m.sweepGap = max(m.sweepGap, window)
	if now.Before(m.sweepAt) {
		return
	}
	m.sweepAt = now.Add(m.sweepGap)
	for subject, times := range m.passed {
		if len(times) == 0 || now.Sub(times[len(times)-1]) >= m.sweepGap {
			delete(m.passed, subject)
		}
	}
}
