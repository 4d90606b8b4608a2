package voicory

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// However the network jitters, no request is one too many; and next to none is too few.
func TestPace(t *testing.T) {
	for name, test := range map[string]struct {
		there, back time.Duration // at most
		share       float64       // of what is allowed
	}{
		"no distance": {0, 0, 0.985},
		"near":        {20 * time.Millisecond, 20 * time.Millisecond, 0.985},
		"far":         {200 * time.Millisecond, 200 * time.Millisecond, 0.98},
		"jitter":      {900 * time.Millisecond, 50 * time.Millisecond, 0.97},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				u, k := newUpstream(), newKeeper(t)
				u.latency = func() (time.Duration, time.Duration) {
					return time.Duration(random.Int64N(int64(test.there + 1))), time.Duration(random.Int64N(int64(test.back + 1)))
				}
				for i := range 60_000 {
					u.add("calls", time.Now().Add(-time.Duration(i)*time.Second))
				}
				began := time.Now()
				k.pull(k.source(u, nil))
				k.holdsAll(u)
				minutes := time.Since(began).Minutes()
				if share := float64(k.rows) / minutes / 6000; share < test.share || len(k.lists["calls"]) < 60_000 {
					t.Errorf("%.4f of the allowed rows, %.1f minutes", share, minutes)
				}
				if rate := 60_000 / minutes / 6000; rate < test.share-0.01 {
					t.Errorf("%.4f of the allowed rows, each counted once", rate)
				}
			})
		})
	}
}

// A key may have other limits than the documented ones, and answers say so.
func TestPaceOfOtherLimits(t *testing.T) {
	for name, test := range map[string]struct {
		rules []rule
		names int
		most  time.Duration // for 300 requests
	}{
		"fewer":             {rules: []rule{{30, time.Minute}, {10, 5 * time.Second}}, most: 10*time.Minute + 10*time.Second},
		"more":              {rules: []rule{{100, time.Minute}, {10, 5 * time.Second}}, most: 3*time.Minute + 10*time.Second},
		"the burst is told": {rules: []rule{{60, time.Minute}, {10, 5 * time.Second}}, names: 10, most: 5*time.Minute + 10*time.Second},
		"none":              {most: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newUpstream(), newKeeper(t)
				u.rules, u.names = test.rules, test.names
				u.fill(9900)
				began := time.Now()
				k.pull(k.source(u, nil))
				k.holdsAll(u)
				if took := time.Since(began); took > test.most {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

// Another client of the same key: what is left is what it leaves.
func TestSharedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(6000)
		client := serve(t, u)
		done := make(chan struct{})
		defer func() { <-done }()
		ctx := t.Context()
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				case <-time.After(1700 * time.Millisecond):
				}
				request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://upstream/api/v1/calls?limit=1", nil)
				request.Header.Set("X-Api-Key", testKey)
				response, err := client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
			}
		}()
		began := time.Now()
		k.pull(k.source(u, nil))
		if took := time.Since(began); took > 20*time.Minute {
			t.Errorf("took %s", took)
		}
		if ours := strings.Count(k.log.String(), "RATE_LIMIT_EXCEEDED"); ours > 6 {
			t.Errorf("%d of our requests were refused", ours)
		}
		u.earned = 0 // that the two of them came between each other
		k.holdsAll(u)
	})
}

// Whoever asks for silence is left alone for that long.
func TestRetryAfter(t *testing.T) {
	for _, name := range []string{"429", "503"} {
		synctest.Test(t, func(t *testing.T) {
			u, k := newUpstream(), newKeeper(t)
			u.fill(250)
			silence := map[string]time.Duration{"429": 31 * time.Second, "503": 7 * time.Second}[name]
			var told time.Time
			u.before = func(n int, _ *http.Request) http.HandlerFunc {
				if early := silence - time.Since(told); early > 0 {
					t.Errorf("asked %s early after a %s", early, name)
				}
				if n%4 == 2 {
					told = time.Now()
					return faults[name]
				}
				return nil
			}
			k.pull(k.source(u, nil))
			k.holdsAll(u)
		})
	}
}

// The transport sends again by itself when a kept connection breaks; limits hold all the same.
func TestSilentResends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(2000)
		u.before = func(n int, _ *http.Request) http.HandlerFunc {
			if n%2 == 0 {
				return faults["reset"]
			}
			return nil
		}
		k.pull(k.source(u, nil))
		k.holdsAll(u)
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newUpstream(), newKeeper(t)
		u.fill(8000)
		var told []Progress
		var at []time.Time
		s := k.source(u, func(o *Options) {
			o.Progress = func(p Progress) { told, at = append(told, p), append(at, time.Now()) }
		})
		k.pull(s)
		first, last := told[0], told[len(told)-1]
		if last.Rows != last.Total || last.Rows != int64(k.rows) || last.Left != 0 {
			t.Errorf("ended with %+v of %d", last, k.rows)
		}
		if first.Total < 24_000 || first.Total > 24_000*102/100 {
			t.Errorf("began with %+v", first)
		}
		for i, p := range told {
			if wrong := p.Left - at[len(at)-1].Sub(at[i]); wrong.Abs() > 30*time.Second {
				t.Errorf("%s left were told, %s too many", p.Left, wrong)
			}
		}
	})
}
