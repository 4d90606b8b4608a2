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

// countDetailRequests returns the number of requests for details that the API has received.
func countDetailRequests(u *fakeAPI) (n int) {
	for _, uri := range u.requests {
		if strings.Contains(uri, "/calls/") {
			n++
		}
	}
	return n
}

func TestDetails_AreFetchedNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		for i := range 250 { // half of them are older than the window
			u.add("calls", time.Now().Add(-time.Duration(i)*DefaultWindow/125))
		}
		u.fill(1)
		s := k.newSource(u, withDetails)
		k.pull(s)
		k.checkAllRows(u)
		k.checkDetails(u)
		newestFirst := func(a, b string) int { return strings.Compare(createdAtOf(u, b), createdAtOf(u, a)) }
		if !slices.IsSortedFunc(k.detailOrder, newestFirst) {
			t.Error("details were not fetched newest first")
		}
		if n := countDetailRequests(u); n > 252 {
			t.Errorf("got %d requests for details of 251 calls, want at most 252", n)
		}

		// Then fetch only the details of a new call, of a changed call, and of the call that left the window.
		before := countDetailRequests(u)
		k.pull(s)
		if n := countDetailRequests(u) - before; n > 0 {
			t.Errorf("got %d requests without new calls, want 0", n)
		}
		time.Sleep(40 * time.Minute)
		u.rows["calls"][20].version++
		u.add("calls", time.Now())
		k.pull(s)
		k.checkDetails(u)
		if n := countDetailRequests(u) - before; n < 2 || n > 4 {
			t.Errorf("got %d requests for one new and one changed call, want 2 to 4", n)
		}

		// Details are read once more when a call leaves the window, because they may have changed since.
		before = countDetailRequests(u)
		for range 5 {
			time.Sleep(24 * time.Hour)
			u.add("calls", time.Now())
			k.pull(s)
		}
		k.checkDetails(u)
		if n := countDetailRequests(u) - before; n < 125 || n > 145 {
			t.Errorf("got %d requests for 125 calls that left the window, want 125 to 145", n)
		}
	})
}

// Calls that are deleted after they were listed are skipped.
func TestDetails_SkipDeletedCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(50)
		u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
			if rows := u.rows["calls"]; n > 3 && n%5 == 0 {
				u.rows["calls"] = rows[:len(rows)-1]
			}
			return nil
		}
		k.pull(k.newSource(u, withDetails))
		k.checkDetails(u)
	})
}

// Details of many calls take hours. Passes continue in between, and few requests are repeated after an interruption.
func TestDetails_PassesContinueDuringLongHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		for i := range 1000 {
			u.add("calls", time.Now().Add(-DefaultWindow-time.Duration(i)*time.Minute))
		}
		u.add("calls", time.Now())
		var added *storedRow
		u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
			if n == 100 {
				added = u.add("messages", time.Now())
			}
			if n == 700 {
				if k.lists["messages"][added.id] == "" {
					t.Error("a message added at the beginning is missing ten minutes later")
				}
				return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
			}
			return nil
		}
		if err := k.newSource(u, withDetails).Pull(t.Context(), nil, k.take); err == nil {
			t.Fatal("got no error, want the one of the forbidden request")
		}
		k.pull(k.newSource(u, withDetails))
		k.checkAllRows(u)
		k.checkDetails(u)
		if n := countDetailRequests(u); n > 1060 {
			t.Errorf("got %d requests for details of 1001 calls, want at most 1060", n)
		}
		for _, state := range k.states {
			if len(state) > 1000 {
				t.Fatalf("got a state of %d bytes, want at most 1000: %s", len(state), state)
			}
		}
	})
}

// Details of calls that share one millisecond and are older than the window.
func TestDetails_TimestampTie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.rules = nil
		for range 350 {
			u.add("calls", time.Now().Add(-DefaultWindow-time.Hour))
		}
		u.fill(120)
		k.pull(k.newSource(u, withDetails))
		k.checkAllRows(u)
		k.checkDetails(u)
		if n := countDetailRequests(u); n > 500 {
			t.Errorf("got %d requests for details of 470 calls, want at most 500", n)
		}
	})
}

// All customers are read again within hours, because old ones may be edited.
func TestPull_RescansCustomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		for i := range 500 {
			u.add("customers", time.Now().Add(-time.Duration(i)*24*time.Hour))
		}
		s := k.newSource(u, nil)
		k.pull(s)
		u.rows["customers"][400].version++
		requests := len(u.requests)
		for range 119 {
			time.Sleep(30 * time.Second)
			k.pull(s)
		}
		if n := len(u.requests) - requests; n > 119*3 {
			t.Errorf("got %d requests by 119 pulls within the hour, want at most 3 each", n)
		}
		time.Sleep(10 * time.Minute)
		k.pull(s)
		k.checkAllRows(u)
	})
}

// createdAtOf returns the created_at of a call, or "" if the call does not exist.
func createdAtOf(u *fakeAPI, id string) string {
	for _, r := range u.rows["calls"] {
		if r.id == id {
			return r.createdAt.Format(boundLayout)
		}
	}
	return ""
}
