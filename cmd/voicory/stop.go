package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stopGrace is the time that work which was cancelled at the end of --stop-timeout has to end, and the data folder to be closed.
const stopGrace = 10 * time.Second

// stopWatch bounds how long a stop takes. Work that can hang, such as a call into a library that cannot be interrupted, is registered
// with hold. If some of it is left when the time is up, the process exits and logs what it waited for. Every commit is durable, so an
// exit loses no more than a crash: nothing.
type stopWatch struct {
	log  *slog.Logger
	exit func(status int)

	mu   sync.Mutex
	next int
	held map[int]string // names of what a stop waits for, guarded by mu
}

func newStopWatch(log *slog.Logger, exit func(int)) *stopWatch {
	return &stopWatch{log: log, exit: exit, held: map[int]string{}}
}

// hold registers work under a name that is safe to be logged, until release is called.
func (s *stopWatch) hold(name string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	id := s.next
	s.held[id] = name
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.held, id)
	}
}

// limit makes the process exit if ended is not called within the limit after the context has ended.
func (s *stopWatch) limit(ctx context.Context, limit time.Duration) (ended func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-done:
			return
		case <-timer.C:
		}
		s.mu.Lock()
		var names []string
		for _, name := range s.held {
			names = append(names, name)
		}
		s.mu.Unlock()
		slices.Sort(names)
		s.log.Error("the stop takes too long; exiting", "limit", limit, "waiting_for", names)
		s.exit(exitFailed)
	})
	return func() {
		stop()
		close(done)
	}
}
