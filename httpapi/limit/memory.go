package limit

import (
	"context"
	"sync"
	"time"
)

// Memory is a Limiter within this process. Per subject it stores at most as many times as the first rule allows
// requests, and removes them after that rule's window. The number of subjects is bounded; while it is reached, requests
// of new subjects are refused.
type Memory struct {
	now         func() time.Time
	maxSubjects int // subjects

	mu       sync.Mutex
	passed   map[string][]time.Time // times of allowed requests by subject, oldest first; guarded by mu
	sweepAt  time.Time              // time of the next sweep; guarded by mu
	sweepGap time.Duration          // longest window so far; guarded by mu
}

// NewMemory returns a limiter. most is the maximum number of subjects at a time. now returns the current time.
func NewMemory(most int, now func() time.Time) *Memory {
	return &Memory{now: now, maxSubjects: most, passed: map[string][]time.Time{}}
}

// Take implements Limiter. It never returns an error.
func (m *Memory) Take(_ context.Context, subject string, rules Rules) (Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now, rules[0].Window)
	times, known := m.passed[subject]
	if !known && len(m.passed) >= m.maxSubjects {
		return Decision{Wait: m.sweepAt.Sub(now), Reset: m.sweepAt.Sub(now)}, nil
	}
	for len(times) > 0 && now.Sub(times[0]) >= rules[0].Window {
		times = times[1:]
	}
	before := history{passed: len(times), nth: make([]time.Duration, len(rules))}
	if len(times) > 0 {
		before.newest = now.Sub(times[len(times)-1])
	}
	for i, rule := range rules {
		if before.nth[i] = noRequest; len(times) >= rule.Max {
			before.nth[i] = now.Sub(times[len(times)-rule.Max])
		}
	}
	d := rules.decide(before)
	if d.Allowed {
		times = append(times, now)
	}
	m.passed[subject] = times
	return d, nil
}

// sweep removes subjects whose last request is older than every window. It runs at most once per window. The caller
// must hold mu.
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
