package query

import (
	"syscall"
	"testing"
)

// waiting is the spare worker, once it has been started.
func waiting(t *testing.T, r *Runner) *worker {
	t.Helper()
	r.spares.goes.Wait()
	r.spares.mu.Lock()
	defer r.spares.mu.Unlock()
	if len(r.spares.waiting) != 1 {
		t.Fatalf("%d workers wait", len(r.spares.waiting))
	}
	return r.spares.waiting[0]
}

// A worker that waits serves one query, of whoever asks, and then another one waits; when it dies while it waits, nobody is the worse for it.
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
		spare := waiting(t, r)
		if seen[spare.PID()] || spare.Ended() {
			t.Errorf("process %d waits again, or has ended", spare.PID())
		}
		seen[spare.PID()] = true
		count(asker.tenant, asker.rows)
		if !spare.Ended() {
			t.Errorf("process %d goes on after a query, or did not serve it", spare.PID())
		}
	}
	killed := waiting(t, r)
	if err := syscall.Kill(killed.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed.Wait()
	count("mine", "200")
	last := waiting(t, r)
	if last == killed || last.Ended() {
		t.Error("the one that was killed was not replaced")
	}
	r.Close()
	if !last.Ended() {
		t.Errorf("process %d waits for nobody", last.PID())
	}
	count("mine", "200")
	r.spares.goes.Wait()
	if len(r.spares.waiting) > 0 {
		t.Error("a worker was started for nobody")
	}
}

// Of several the one that has waited longest serves first, and another one takes its place.
func TestSpareWorkers(t *testing.T) {
	r := newRunner(t, lake(t))
	first := waiting(t, r)
	r.Spares = 2
	r.keepSpares()
	r.spares.goes.Wait()
	if n := len(r.spares.waiting); n != 2 || r.spares.waiting[0] != first {
		t.Fatalf("%d workers wait, or in another order", n)
	}
	second := r.spares.waiting[1]
	if _, _, err := ask(t.Context(), r, Request{SQL: "SELECT 1", Format: NDJSON, Tenant: mine}); err != nil {
		t.Fatal(err)
	}
	r.spares.goes.Wait()
	if n := len(r.spares.waiting); n != 2 || r.spares.waiting[0] != second || !first.Ended() || second.Ended() {
		t.Errorf("%d workers wait, or another one than the first has served", n)
	}
}
