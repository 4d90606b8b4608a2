package query

import "sync"

// spare is at most one worker that was started ahead: bound to nobody, DuckDB open, waiting for its task. It is used once, like any other.
type spare struct {
	mu       sync.Mutex
	worker   *worker
	starting sync.WaitGroup
	busy     bool // one is being started
	closed   bool
}

// keepSpare has a worker started ahead, if that is wanted and there is none. It does not wait for it.
func (r *Runner) keepSpare() {
	if !r.Spare || r.Available() != nil {
		return
	}
	s := &r.spare
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.busy || s.worker != nil && !s.worker.over() {
		return
	}
	s.busy = true
	s.starting.Go(func() {
		w, err := r.startWorker()
		if err != nil { // the next query starts its own, and says so
			r.Log.Warn("no spare worker", "error", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.busy = false
		if s.worker != nil { // it has ended by itself
			s.worker.end()
		}
		s.worker = w
	})
}

// takeWorker gives the spare worker away, which may still be getting ready, or starts one.
func (r *Runner) takeWorker() (*worker, error) {
	s := &r.spare
	s.mu.Lock()
	w := s.worker
	s.worker = nil
	s.mu.Unlock()
	if w == nil {
		return r.startWorker()
	}
	if w.over() { // the kernel takes it first where memory is short
		w.end()
		return r.startWorker()
	}
	return w, nil
}

// Close ends the spare worker. Queries that run go on.
func (r *Runner) Close() {
	s := &r.spare
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.starting.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.worker != nil {
		s.worker.end()
		s.worker = nil
	}
}
