package query

import (
	"syscall"
	"testing"
)

// idleWorker waits until the pool is full, and returns its only worker.
func idleWorker(t *testing.T, r *Runner) *workerProcess {
	t.Helper()
	r.pool.filling.Wait()
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if len(r.pool.idle) != 1 {
		t.Fatalf("got %d idle workers, want 1", len(r.pool.idle))
	}
	return r.pool.idle[0]
}

// An idle worker runs one query, of any tenant, and another one takes its place. An idle worker that is killed is
// replaced and no query fails.
func TestWorkerPool_WorkerRunsOneQuery(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	count := func(tenant, want string) {
		t.Helper()
		request := Request{SQL: "SELECT count(*) AS n FROM calls", Format: NDJSON, Tenant: tenantA}
		if tenant == "B" {
			request.Tenant = tenantB
		}
		if got, _, err := runQuery(t.Context(), r, request); err != nil || got != `{"n":`+want+"}\n" {
			t.Errorf("tenant %s: got %q (%v), want %s rows", tenant, got, err, want)
		}
	}
	seen := map[int]bool{}
	for _, query := range []struct{ tenant, rows string }{{"A", "200"}, {"B", "1"}, {"A", "200"}} {
		w := idleWorker(t, r)
		if seen[w.PID()] || w.Ended() {
			t.Errorf("process %d was used before, or has ended", w.PID())
		}
		seen[w.PID()] = true
		count(query.tenant, query.rows)
		if !w.Ended() {
			t.Errorf("process %d did not run the query, or did not end with it", w.PID())
		}
	}
	killed := idleWorker(t, r)
	if err := syscall.Kill(killed.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	count("A", "200")
	last := idleWorker(t, r)
	if last == killed || last.Ended() {
		t.Error("the killed worker was not replaced")
	}
	r.Close()
	if !last.Ended() {
		t.Errorf("process %d was not ended by Close", last.PID())
	}
	count("A", "200")
	r.pool.filling.Wait()
	if len(r.pool.idle) > 0 {
		t.Error("a worker was started after Close")
	}
}

// The worker that has been idle longest runs the next query, and another worker takes its place.
func TestWorkerPool_LongestIdleRunsFirst(t *testing.T) {
	r := newRunner(t, sharedLake(t))
	first := idleWorker(t, r)
	r.IdleWorkers = 2
	r.fillPool()
	r.pool.filling.Wait()
	if n := len(r.pool.idle); n != 2 || r.pool.idle[0] != first {
		t.Fatalf("got %d idle workers, or in another order, want 2", n)
	}
	second := r.pool.idle[1]
	if _, _, err := runQuery(t.Context(), r, Request{SQL: "SELECT 1", Format: NDJSON, Tenant: tenantA}); err != nil {
		t.Fatal(err)
	}
	r.pool.filling.Wait()
	if n := len(r.pool.idle); n != 2 || r.pool.idle[0] != second || !first.Ended() || second.Ended() {
		t.Errorf("got %d idle workers, want 2, and the query run by the first", n)
	}
}
