package query

import (
	"syscall"
	"testing"
)

// idle is the spare worker, once it has been started.
func idle(t *testing.T, r *Runner) *worker {
	t.Helper()
	r.pool.filling.Wait()
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	if len(r.pool.idle) != 1 {
		t.Fatalf("%d workers wait", len(r.pool.idle))
	}
	return r.pool.idle[0]
}

// A worker that waits serves one query, of whoever asks, and then another one waits; when it dies while it waits,
// nobody is the worse for it.
func TestSpareWorker(t *testing.T) {
	r := newRunner(t, lake(t))
	count := func(tenant, want string) {
		t.Helper()
		request := Request{SQL: "SELECT count(*) AS n FROM calls", Format: NDJSON, Tenant: mine}
		if tenant == "theirs" {
			request.Tenant = theirs
		}
		if got, _, err := ask(t.Context(), r, request); err != nil || got != `{"n":`+want+"}\n" {
			t.Errorf("%s: %q %v", tenant, got, err)
		}
	}
	seen := map[int]bool{}
	for _, asker := range []struct{ tenant, rows string }{{"mine", "200"}, {"theirs", "1"}, {"mine", "200"}} {
		spare := idle(t, r)
		if seen[spare.PID()] || spare.Ended() {
			t.Errorf("process %d waits again, or has ended", spare.PID())
		}
		seen[spare.PID()] = true
		count(asker.tenant, asker.rows)
		if !spare.Ended() {
			t.Errorf("process %d filling on after a query, or did not serve it", spare.PID())
		}
	}
	killed := idle(t, r)
	if err := syscall.Kill(killed.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	count("mine", "200")
	last := idle(t, r)
	if last == killed || last.Ended() {
		t.Error("the one that was killed was not replaced")
	}
	r.Close()
	if !last.Ended() {
		t.Errorf("process %d waits for nobody", last.PID())
	}
	count("mine", "200")
	r.pool.filling.Wait()
	if len(r.pool.idle) > 0 {
		t.Error("a worker was started for nobody")
	}
}

// Of several the one that has waited longest serves first, and another one takes its place.
func TestSpareWorkers(t *testing.T) {
	r := newRunner(t, lake(t))
	first := idle(t, r)
	r.IdleWorkers = 2
	r.fillPool()
	r.pool.filling.Wait()
	if n := len(r.pool.idle); n != 2 || r.pool.idle[0] != first {
		t.Fatalf("%d workers wait, or in another order", n)
	}
	second := r.pool.idle[1]
	if _, _, err := ask(t.Context(), r, Request{SQL: "SELECT 1", Format: NDJSON, Tenant: mine}); err != nil {
		t.Fatal(err)
	}
	r.pool.filling.Wait()
	if n := len(r.pool.idle); n != 2 || r.pool.idle[0] != second || !first.Ended() || second.Ended() {
		t.Errorf("%d workers wait, or another one than the first has served", n)
	}
}
