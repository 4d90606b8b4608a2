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

func TestPull_BackfillThenIncrements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(1234)
		s := k.newSource(u, nil)
		k.pull(s)
		k.checkAllRows(u)
		if n := len(u.requests); n > 3*13 {
			t.Errorf("got %d requests by the backfill, want at most 39", n)
		}
		time.Sleep(time.Minute)
		changed := u.rows["calls"][1000]
		changed.version++                                        // for example a cost that is written hours later
		late := u.add("messages", time.Now().Add(-50*time.Hour)) // older than all other rows
		u.fill(3)
		k.pull(s)
		k.checkAllRows(u)
		if k.lists["messages"][late.id] == "" || k.state == nil {
			t.Error("a late row is missing")
		}
		if strings.Contains(string(k.state), "walk") {
			t.Errorf("got a state with an unfinished scan after a complete pass: %s", k.state)
		}
	})
}

// Rows older than the window are not read again.
func TestPull_IncrementReadsOnlyTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(2000)
		s := k.newSource(u, func(o *Options) { o.Window = 5 * time.Hour })
		k.pull(s)
		before := k.rows
		time.Sleep(time.Second)
		k.pull(s)
		if again := k.rows - before; again < 3*300 || again > 3*310 {
			t.Errorf("got %d rows again, want 900 to 930", again)
		}
	})
}

// While rows are inserted, deleted and changed between any two requests, a pull misses no row that existed all the
// time. The next pull finds the new rows.
func TestPull_NoGapDuringConcurrentChanges(t *testing.T) {
	for seed := range uint64(6) { // each combination of precision and order
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			u, k := newFakeAPI(), newFakeWarehouse(t)
			u.microseconds = seed%2 == 0
			if seed%3 == 0 {
				u.shuffle = random
			}
			at := time.Now().Add(-2 * time.Hour)
			for range 1500 {
				for _, dataset := range []string{"calls", "customers", "messages"} {
					u.add(dataset, at)
				}
				if random.IntN(4) > 0 { // else the next one has the same time
					at = at.Add(time.Duration(random.IntN(3000)) * time.Microsecond)
				}
				if random.IntN(750) == 0 && !u.microseconds && u.shuffle == nil { // a tie
					for range 100 + random.IntN(250) {
						u.add("customers", at)
					}
				}
			}
			initial := map[string][]*storedRow{}
			for dataset, rows := range u.rows {
				initial[dataset] = slices.Clone(rows)
			}
			u.intercept = func(int, *http.Request) http.HandlerFunc {
				for dataset, rows := range u.rows {
					deleted := random.IntN(len(rows))
					u.rows[dataset] = slices.Delete(rows, deleted, deleted+1)
					u.add(dataset, time.Now())
					u.add(dataset, rows[random.IntN(len(rows)-1)].createdAt) // late
					u.rows[dataset][random.IntN(len(rows)-1)].version++
				}
				return nil
			}
			s := k.newSource(u, nil)
			k.pull(s)
			for dataset, rows := range initial {
				missing, present := 0, map[*storedRow]bool{}
				for _, r := range u.rows[dataset] {
					present[r] = true
				}
				for _, r := range rows {
					if present[r] && k.lists[dataset][r.id] == "" {
						missing++
					}
				}
				if missing > 0 {
					t.Errorf("seed %d: %d of %d %s are missing", seed, missing, len(rows), dataset)
				}
			}
			u.intercept = nil
			time.Sleep(time.Minute)
			k.pull(s)
			k.checkAllRows(u)
		})
	}
}

// All rows of a millisecond are read if they do not fit on a page.
func TestScan_TimestampTies(t *testing.T) {
	for name, test := range map[string]struct {
		sizes   []int // of milliseconds, the newest first, one after the other
		micros  bool
		shuffle bool
		deep    bool // the first page alone is in order
		deletes int  // rows at a time, before some requests
		seeds   uint64
	}{
		"a page":                 {sizes: []int{100, 1}, seeds: 2},
		"more than a page":       {sizes: []int{1, 101, 1}, seeds: 2},
		"pages":                  {sizes: []int{50, 300, 50}, seeds: 2},
		"many pages":             {sizes: []int{3, 4900, 300}, seeds: 1},
		"neighbours":             {sizes: []int{250, 250, 99, 100, 101, 1}, seeds: 2},
		"nothing else":           {sizes: []int{777}, seeds: 2},
		"microseconds":           {sizes: []int{250, 40, 333, 1}, micros: true, seeds: 2},
		"in no order":            {sizes: []int{10, 250, 130}, shuffle: true, seeds: 2},
		"in no order, neither":   {sizes: []int{10, 250, 130}, micros: true, shuffle: true, seeds: 2},
		"order of page 1 alone":  {sizes: []int{120, 450, 130}, shuffle: true, deep: true, seeds: 2},
		"rows deleted":           {sizes: []int{10, 1730, 130, 5}, deletes: 70, seeds: 5},
		"rows deleted, no order": {sizes: []int{10, 330, 130, 5}, deletes: 20, shuffle: true, seeds: 5},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range test.seeds {
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(seed, 1))
					u, k := newFakeAPI(), newFakeWarehouse(t)
					u.rules, u.microseconds, u.sortFirstPage = nil, test.micros, test.deep
					if test.shuffle {
						u.shuffle = random
					}
					at := time.Now().Add(-24 * time.Hour)
					for i, size := range test.sizes {
						for range size {
							u.add("customers", at.Add(-time.Duration(i)*time.Millisecond+time.Duration(random.IntN(1000))*time.Microsecond))
						}
					}
					u.intercept = func(n int, r *http.Request) http.HandlerFunc {
						if n%5 == int(seed%5) && n > int(seed) && n < 40 && strings.Contains(r.URL.Path, "customers") {
							if rows := u.rows["customers"]; len(rows) > 20+test.deletes {
								u.rows["customers"] = slices.Delete(rows, 20, 20+test.deletes)
							}
						}
						return nil
					}
					k.pull(k.newSource(u, nil))
					k.checkAllRows(u)
				})
			}
		})
	}
}

// Rows that are deleted between two readings of an unordered tie do not hide that others are missing.
func TestScan_UnorderedTieShrinksBetweenReadings(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			u, k := newFakeAPI(), newFakeWarehouse(t)
			u.rules, u.shuffle = nil, rand.New(rand.NewPCG(seed, 1))
			at := time.Now().Add(-24 * time.Hour)
			for range 330 {
				u.add("customers", at)
			}
			readings := 0
			u.intercept = func(_ int, r *http.Request) http.HandlerFunc {
				if q := r.URL.Query(); strings.Contains(r.URL.Path, "customers") && q.Has("from") && q.Get("page") == "1" {
					if readings++; readings == 2 {
						u.rows["customers"] = slices.Delete(u.rows["customers"], 100, 120)
					}
				}
				return nil
			}
			k.pull(k.newSource(u, nil))
			k.checkAllRows(u)
			if readings < 2 {
				t.Errorf("got %d readings of the tie, want at least 2", readings)
			}
		})
	}
}

// A wrong clock hides no rows, whether it is the local clock, the API's clock or the clock that created_at comes from.
func TestPull_WrongClocks(t *testing.T) {
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
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.clockSkew = test.date
				for range 200 {
					u.add("calls", time.Now().Add(test.rows))
					time.Sleep(time.Minute)
				}
				if name == "one row from the future" {
					u.add("calls", time.Now().AddDate(99, 0, 0))
				}
				s := k.newSource(u, nil)
				for range 3 {
					k.pull(s)
					k.checkAllRows(u)
					time.Sleep(100 * time.Hour)
					u.add("calls", time.Now().Add(test.rows))
				}
				k.pull(s)
				k.checkAllRows(u)
			})
		})
	}
}
