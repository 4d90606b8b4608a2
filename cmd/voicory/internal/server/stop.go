package server

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// stopGrace is the time after --stop-timeout in which cancelled work has to end and the data folder to be closed.
const stopGrace = 10 * time.Second

// A stopWatch bounds how long a shutdown takes. Work that can hang, such as a call into a library that cannot be
// interrupted, is registered with hold. If some of it is still running at the limit, the process logs its names and
// exits. Every commit is durable, so this exit loses no rows.
type stopWatch struct {
	log  *slog.Logger
	exit func()

	mu   sync.Mutex
	next int
	held map[int]string // names of the running work; guarded by mu
}

func newStopWatch(log *slog.Logger, exit func()) *stopWatch {
	return &stopWatch{log: log, exit: exit, held: map[int]string{}}
}

// hold registers running work until release is called. The name is logged, so it must not contain secrets.
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

// limit makes the process exit if ended is not called within limit after ctx is done.
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
		s.log.Error("shutdown exceeded its limit; exiting", "limit", limit, "waiting_for", names)
		s.exit()
	})
	return func() {
		stop()
		close(done)
	}
}
