package query

import "sync"

// spares are workers that were started ahead: bound to nobody, DuckDB open, waiting for their task. Each is used once, like any other.
type spares struct {
	mu       sync.Mutex
	waiting  []*worker // the one that has waited longest is the first
	closed   bool
	starting sync.Mutex // held while one is started
	goes     sync.WaitGroup
}

// keepSpares has workers started ahead, as many as are wanted. It does not wait for them.
func (r *Runner) keepSpares() {
	if r.Spares == 0 || r.Available() != nil {
		return
	}
	s := &r.spares
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.goes.Go(func() {
		for r.startSpare() {
		}
	})
}

// startSpare starts one more, and tells whether it did: not where there are enough.
func (r *Runner) startSpare() bool {
	s := &r.spares
	s.starting.Lock()
	defer s.starting.Unlock()
	if !s.want(r.Spares) {
		return false
	}
	w, err := r.startWorker()
	if err != nil { // the next query starts its own, and says so
		r.Log.Warn("no spare worker", "error", err)
		return false
	}
	s.add(w)
	return true
}

// takeWorker gives a spare worker away, which may still be getting ready, or starts one.
func (r *Runner) takeWorker() (*worker, error) {
	s := &r.spares
	if w := s.take(); w != nil {
		return w, nil
	}
	s.starting.Lock() // one that is being started is ready sooner than one of the query's own
	w := s.take()
	s.starting.Unlock()
	if w != nil {
		return w, nil
	}
	return r.startWorker()
}

// want tells whether there are fewer than so many.
func (s *spares) want(most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	return !s.closed && len(s.waiting) < most
}

// add has a worker wait.
func (s *spares) add(w *worker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		w.end()
		return
	}
	s.waiting = append(s.waiting, w)
}

// take is one that waits; nil: there is none.
func (s *spares) take() *worker {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	if len(s.waiting) == 0 {
		return nil
	}
	w := s.waiting[0]
	s.waiting = s.waiting[1:]
	return w
}

// drop lets those go that have ended by themselves: the kernel takes them first where memory is short. The caller holds mu.
func (s *spares) drop() {
	var left []*worker
	for _, w := range s.waiting {
		if w.Ended() {
			w.end()
			continue
		}
		left = append(left, w)
	}
	s.waiting = left
}

// Close ends the spare workers. Queries that run go on.
func (r *Runner) Close() {
	s := &r.spares
	s.mu.Lock()
	s.closed = true
	for _, w := range s.waiting {
		w.end()
	}
	s.waiting = nil
	s.mu.Unlock()
	s.goes.Wait()
}
