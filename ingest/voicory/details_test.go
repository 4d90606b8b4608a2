package voicory

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func withDetails(o *Options) { o.Details = true }

// detailsAsked counts requests.
func detailsAsked(u *upstream) (n int) {
	for _, uri := range u.asked {
		if strings.Contains(uri, "/calls/") {
			n++
		}
	}
	return n
}

func TestDetailsNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		for i := range 250 { // half of them are older than the window
			u.add("calls", time.Now().Add(-time.Duration(i)*DefaultWindow/125))
		}
		u.fill(1)
		s := k.source(u, withDetails)
		k.pull(s)
		k.holdsAll(u)
		k.holdsDetails(u)
		if !slices.IsSortedFunc(k.order, func(a, b string) int { return strings.Compare(created(u, b), created(u, a)) }) {
			t.Error("not the newest first")
		}
		if n := detailsAsked(u); n > 252 {
			t.Errorf("%d requests for details of 251 calls", n)
		}

		// Nothing new, then a new call and a change: only those are asked for, and the one call that has left the window.
		before := detailsAsked(u)
		k.pull(s)
		if n := detailsAsked(u) - before; n > 0 {
			t.Errorf("nothing new, and %d requests", n)
		}
		time.Sleep(40 * time.Minute)
		u.rows["calls"][20].version++
		u.add("calls", time.Now())
		k.pull(s)
		k.holdsDetails(u)
		if n := detailsAsked(u) - before; n < 2 || n > 4 {
			t.Errorf("one new, one changed, and %d requests", n)
		}

		// What changed unseen is read once more when it leaves the window.
		before = detailsAsked(u)
		for range 5 {
			time.Sleep(24 * time.Hour)
			u.add("calls", time.Now())
			k.pull(s)
		}
		k.holdsDetails(u)
		if n := detailsAsked(u) - before; n < 125 || n > 145 {
			t.Errorf("%d requests for 125 calls that left the window", n)
		}
	})
}

// Calls that are deleted between being listed and asked for are passed over.
func TestDetailsOfDeletedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(50)
		u.before = func(n int, _ *http.Request) http.HandlerFunc {
			if rows := u.rows["calls"]; n > 3 && n%5 == 0 {
				u.rows["calls"] = rows[:len(rows)-1]
			}
			return nil
		}
		k.pull(k.source(u, withDetails))
		k.holdsDetails(u)
	})
}

// Details of a long history take hours: passes go on meanwhile, and an interruption repeats little.
func TestDetailsOfALongHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		for i := range 1000 {
			u.add("calls", time.Now().Add(-DefaultWindow-time.Duration(i)*time.Minute))
		}
		u.add("calls", time.Now())
		var came *record
		u.before = func(n int, _ *http.Request) http.HandlerFunc {
			if n == 100 {
				came = u.add("messages", time.Now())
			}
			if n == 700 {
				if k.lists["messages"][came.id] == "" {
					t.Error("a message that came at the beginning is not there ten minutes later")
				}
				return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
			}
			return nil
		}
		if err := k.source(u, withDetails).Pull(t.Context(), nil, k.take); err == nil {
			t.Fatal("not interrupted")
		}
		k.pull(k.source(u, withDetails))
		k.holdsAll(u)
		k.holdsDetails(u)
		if n := detailsAsked(u); n > 1060 {
			t.Errorf("%d requests for details of 1001 calls", n)
		}
		for _, state := range k.states {
			if len(state) > 1000 {
				t.Fatalf("state is %s", state)
			}
		}
	})
}

// A knot of calls older than the window.
func TestDetailsOfAKnot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.rules = nil
		for range 350 {
			u.add("calls", time.Now().Add(-DefaultWindow-time.Hour))
		}
		u.fill(120)
		k.pull(k.source(u, withDetails))
		k.holdsAll(u)
		k.holdsDetails(u)
		if n := detailsAsked(u); n > 500 {
			t.Errorf("%d requests for details of 470 calls", n)
		}
	})
}

// Customers are edited at any age: within hours all are read again.
func TestCustomersAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		for i := range 500 {
			u.add("customers", time.Now().Add(-time.Duration(i)*24*time.Hour))
		}
		s := k.source(u, nil)
		k.pull(s)
		u.rows["customers"][400].version++
		requests := len(u.asked)
		for range 119 {
			time.Sleep(30 * time.Second)
			k.pull(s)
		}
		if n := len(u.asked) - requests; n > 119*3 {
			t.Errorf("%d requests of %d pulls within the hour", n, 119)
		}
		time.Sleep(10 * time.Minute)
		k.pull(s)
		k.holdsAll(u)
	})
}

func created(u *upstream, id string) string {
	for _, r := range u.rows["calls"] {
		if r.id == id {
			return r.created.Format(boundForm)
		}
	}
	return ""
}
