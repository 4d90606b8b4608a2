package limit

import (
	"context"
	"sync"
	"time"
)

// Memory limits within this process. What it holds of a subject is at most as many times as its first rule allows, and
// nothing once that rule's window has passed. It holds a bounded number of subjects; while there is no room, new ones may
// not pass.
type Memory struct {
	now  func() time.Time
	most int // subjects

	mu       sync.Mutex
	passed   map[string][]time.Time // of each subject, oldest first
	sweepAt  time.Time
	sweepGap time.Duration
}

// NewMemory makes a limiter of at most that many subjects at a time; now is the clock, time.Now but in tests.
func NewMemory(most int, now func() time.Time) *Memory {
	return &Memory{now: now, most: most, passed: map[string][]time.Time{}}
}

// Take never fails.
func (m *Memory) Take(_ context.Context, subject string, rules Rules) (Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	m.sweep(now, rules[0].Window)
	times, known := m.passed[subject]
	if !known && len(m.passed) >= m.most {
		return Decision{Wait: m.sweepAt.Sub(now), Reset: m.sweepAt.Sub(now)}, nil
	}
	for len(times) > 0 && now.Sub(times[0]) >= rules[0].Window {
		times = times[1:]
	}
	before := standing{passed: len(times), nth: make([]time.Duration, len(rules))}
	if len(times) > 0 {
		before.newest = now.Sub(times[len(times)-1])
	}
	for i, rule := range rules {
		if before.nth[i] = longAgo; len(times) >= rule.Max {
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
