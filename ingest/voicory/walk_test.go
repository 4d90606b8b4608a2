package voicory

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackfillThenIncrements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(1234)
		s := k.source(u, nil)
		k.pull(s)
		k.holdsAll(u)
		if n := len(u.asked); n > 3*13 {
			t.Errorf("backfill took %d requests", n)
		}
		time.Sleep(time.Minute)
		changed := u.rows["calls"][1000]
		changed.version++                                        // a cost, hours later
		late := u.add("messages", time.Now().Add(-50*time.Hour)) // older than all
		u.fill(3)
		k.pull(s)
		k.holdsAll(u)
		if k.lists["messages"][late.id] == "" || k.state == nil {
			t.Error("a late row is missing")
		}
		if strings.Contains(string(k.state), "walk") {
			t.Errorf("state after a whole pass is %s", k.state)
		}
	})
}

// Beyond the window nothing is read again.
func TestIncrementReadsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(2000)
		s := k.source(u, func(o *Options) { o.Window = 5 * time.Hour })
		k.pull(s)
		before := k.rows
		time.Sleep(time.Second)
		k.pull(s)
		if again := k.rows - before; again < 3*300 || again > 3*310 {
			t.Errorf("%d rows were read again", again)
		}
	})
}

// Whatever is inserted, deleted and changed between two requests: no row that was there all the time is missed, and what is new is
// found by the next pull.
func TestNoGapWhileRowsComeAndGo(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			u, k := newUpstream(), newKeeper(t)
			u.micros = seed%2 == 0
			if seed%3 == 0 {
				u.shuffle = random
			}
			at := time.Now().Add(-2 * time.Hour)
			for range 3000 {
				for _, dataset := range []string{"calls", "customers", "messages"} {
					u.add(dataset, at)
				}
				if random.IntN(4) > 0 { // else the next one has the same time
					at = at.Add(time.Duration(random.IntN(3000)) * time.Microsecond)
				}
				if random.IntN(1500) == 0 && !u.micros && u.shuffle == nil { // a knot
					for range 100 + random.IntN(250) {
						u.add("customers", at)
					}
				}
			}
			there := map[string][]*record{}
			for dataset, rows := range u.rows {
				there[dataset] = slices.Clone(rows)
			}
			u.before = func(int, *http.Request) http.HandlerFunc {
				for dataset, rows := range u.rows {
					gone := random.IntN(len(rows))
					u.rows[dataset] = slices.Delete(rows, gone, gone+1)
					u.add(dataset, time.Now())
					u.add(dataset, rows[random.IntN(len(rows)-1)].created) // late
					u.rows[dataset][random.IntN(len(rows)-1)].version++
				}
				return nil
			}
			s := k.source(u, nil)
			k.pull(s)
			for dataset, rows := range there {
				missing := 0
				for _, r := range rows {
					if slices.Contains(u.rows[dataset], r) && k.lists[dataset][r.id] == "" {
						missing++
					}
				}
				if missing > 0 {
					t.Errorf("seed %d: %d of %d %s are missing", seed, missing, len(rows), dataset)
				}
			}
			u.before = nil
			time.Sleep(time.Minute)
			k.pull(s)
			k.holdsAll(u)
		})
	}
}

// A page cannot hold the rows of one millisecond.
func TestKnots(t *testing.T) {
	for name, test := range map[string]struct {
		sizes   []int // of milliseconds, the newest first, one after the other
		micros  bool
		shuffle bool
		deep    bool // the first page alone is in order
		deletes int  // rows at a time, before some requests
	}{
		"a page":                 {sizes: []int{100, 1}},
		"more than a page":       {sizes: []int{1, 101, 1}},
		"pages":                  {sizes: []int{50, 300, 50}},
		"many pages":             {sizes: []int{3, 9900, 300}},
		"neighbours":             {sizes: []int{250, 250, 99, 100, 101, 1}},
		"nothing else":           {sizes: []int{777}},
		"microseconds":           {sizes: []int{250, 40, 333, 1}, micros: true},
		"in no order":            {sizes: []int{10, 250, 130}, shuffle: true},
		"in no order, neither":   {sizes: []int{10, 250, 130}, micros: true, shuffle: true},
		"order of page 1 alone":  {sizes: []int{120, 450, 130}, shuffle: true, deep: true},
		"rows deleted":           {sizes: []int{10, 1730, 130, 5}, deletes: 70},
		"rows deleted, no order": {sizes: []int{10, 330, 130, 5}, deletes: 20, shuffle: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(5 + test.deletes) {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 1))
					u, k := newUpstream(), newKeeper(t)
					u.rules, u.micros, u.deep = nil, test.micros, test.deep
					if test.shuffle {
						u.shuffle = random
					}
					at := time.Now().Add(-24 * time.Hour)
					for i, size := range test.sizes {
						for range size {
							u.add("customers", at.Add(-time.Duration(i)*time.Millisecond+time.Duration(random.IntN(1000))*time.Microsecond))
						}
					}
					u.before = func(n int, r *http.Request) http.HandlerFunc {
						if n%5 == int(seed%5) && n > int(seed) && n < 40 && strings.Contains(r.URL.Path, "customers") {
							if rows := u.rows["customers"]; len(rows) > 20+test.deletes {
								u.rows["customers"] = slices.Delete(rows, 20, 20+test.deletes)
							}
						}
						return nil
					}
					k.pull(k.source(u, nil))
					k.holdsAll(u)
				})
			}
		})
	}
}

// Rows that are deleted after one reading of a knot without order and before the next do not count for others.
func TestKnotShrinksBetweenReadings(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			u, k := newUpstream(), newKeeper(t)
			u.rules, u.shuffle = nil, rand.New(rand.NewPCG(seed, 1))
			at := time.Now().Add(-24 * time.Hour)
			for range 330 {
				u.add("customers", at)
			}
			readings := 0
			u.before = func(_ int, r *http.Request) http.HandlerFunc {
				if q := r.URL.Query(); strings.Contains(r.URL.Path, "customers") && q.Has("from") && q.Get("page") == "1" {
					if readings++; readings == 2 {
						u.rows["customers"] = slices.Delete(u.rows["customers"], 100, 120)
					}
				}
				return nil
			}
			k.pull(k.source(u, nil))
			k.holdsAll(u)
			if readings < 2 {
				t.Errorf("the knot was read %d times", readings)
			}
		})
	}
}

// Clocks that differ hide nothing: neither ours, nor the API's, nor those that rows were created by.
func TestClocks(t *testing.T) {
	for name, test := range map[string]struct{ date, rows time.Duration }{
		"the API is behind":       {date: -50 * time.Hour},
		"the API is ahead":        {date: 1000 * time.Hour},
		"rows are behind":         {rows: -1000 * time.Hour},
		"rows are ahead":          {rows: 1000 * time.Hour},
		"rows ahead, API behind":  {date: -100 * time.Hour, rows: 100 * time.Hour},
		"one row from the future": {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newUpstream(), newKeeper(t)
				u.skew = test.date
				for range 200 {
					u.add("calls", time.Now().Add(test.rows))
					time.Sleep(time.Minute)
				}
				if name == "one row from the future" {
					u.add("calls", time.Now().AddDate(99, 0, 0))
				}
				s := k.source(u, nil)
				for range 3 {
					k.pull(s)
					k.holdsAll(u)
					time.Sleep(100 * time.Hour)
					u.add("calls", time.Now().Add(test.rows))
				}
				k.pull(s)
				k.holdsAll(u)
			})
		})
	}
}
