package query

import "sync"

// A workerPool holds idle workers: processes with DuckDB open and the views created, which wait for a task of any
// tenant. Each runs one task.
type workerPool struct {
	mu       sync.Mutex
	idle     []*workerProcess // the first has waited longest; guarded by mu
	closed   bool             // guarded by mu
	starting sync.Mutex       // held while a worker starts; acquired before mu
	filling  sync.WaitGroup
}

// fillPool starts workers in a goroutine until IdleWorkers of them are idle. It returns at once.
func (r *Runner) fillPool() {
	if r.IdleWorkers == 0 || r.Available() != nil {
		return
	}
	p := &r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.filling.Go(func() {
		for r.addIdleWorker() {
		}
	})
}

// addIdleWorker starts one worker, and reports whether it did. It returns false if the pool is full or closed, or if
// the worker cannot be started.
func (r *Runner) addIdleWorker() bool {
	p := &r.pool
	p.starting.Lock()
	defer p.starting.Unlock()
	if !p.hasRoom(r.IdleWorkers) {
		return false
	}
	w, err := r.startWorker()
	if err != nil { // the next query starts a worker itself, and returns the error
		r.Log.Warn("start an idle worker", "error", err)
		return false
	}
	p.add(w)
	return true
}

// acquireWorker removes a worker from the pool, which may still be preparing itself, or starts one if the pool is
// empty.
func (r *Runner) acquireWorker() (*workerProcess, error) {
	p := &r.pool
	if w := p.take(); w != nil {
		return w, nil
	}
	p.starting.Lock() // a worker that is being started is ready sooner than a new one
	w := p.take()
	p.starting.Unlock()
	if w != nil {
		return w, nil
	}
	return r.startWorker()
}

// hasRoom reports whether the pool is open and has fewer than limit idle workers.
func (p *workerPool) hasRoom(limit int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeEnded()
	return !p.closed && len(p.idle) < limit
}

// add adds an idle worker. If the pool is closed, it ends the worker.
func (p *workerPool) add(w *workerProcess) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		w.end()
		return
	}
	p.idle = append(p.idle, w)
}

// take removes and returns the worker that has been idle longest, or returns nil if the pool is empty.
func (p *workerPool) take() *workerProcess {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeEnded()
	if len(p.idle) == 0 {
		return nil
	}
	w := p.idle[0]
	p.idle = p.idle[1:]
	return w
}

// removeEnded removes workers whose process has ended. The kernel kills workers first if the machine is short of
// memory. The caller holds mu.
func (p *workerPool) removeEnded() {
	var alive []*workerProcess
	for _, w := range p.idle {
		if w.Ended() {
			w.end()
			continue
		}
		alive = append(alive, w)
	}
	p.idle = alive
}

// Close ends the idle workers and starts no more. Running queries continue.
func (r *Runner) Close() {
	p := &r.pool
	p.mu.Lock()
	p.closed = true
	for _, w := range p.idle {
		w.end()
	}
	p.idle = nil
	p.mu.Unlock()
	p.filling.Wait()
}
