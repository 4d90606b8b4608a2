package voicory

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The pull never exceeds a limit, whatever the network delay, and uses nearly all of the allowed requests.
func TestLimiter_NeverExceedsLimit(t *testing.T) {
	for name, test := range map[string]struct {
		there, back time.Duration // at most
		share       float64       // minimum share of the allowed rows
	}{
		"no distance": {0, 0, 0.985},
		"far":         {200 * time.Millisecond, 200 * time.Millisecond, 0.98},
		"jitter":      {900 * time.Millisecond, 50 * time.Millisecond, 0.97},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.latency = func() (time.Duration, time.Duration) {
					return time.Duration(random.Int64N(int64(test.there + 1))), time.Duration(random.Int64N(int64(test.back + 1)))
				}
				for i := range 30_000 {
					u.add("calls", time.Now().Add(-time.Duration(i)*time.Second))
				}
				began := time.Now()
				k.pull(k.newSource(u, nil))
				k.checkAllRows(u)
				minutes := time.Since(began).Minutes()
				if share := float64(k.rows) / minutes / 6000; share < test.share || len(k.lists["calls"]) < 30_000 {
					t.Errorf("got %.4f of the allowed rows in %.1f minutes, want %.4f", share, minutes, test.share)
				}
				if rate := 30_000 / minutes / 6000; rate < test.share-0.01 {
					t.Errorf("got %.4f of the allowed rows, each counted once, want %.4f", rate, test.share-0.01)
				}
			})
		})
	}
}

// The limiter adopts the limits that response headers state.
func TestLimiter_LimitsFromHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		rules []rule
		names int
		most  time.Duration // for 150 requests
	}{
		"fewer": {rules: []rule{{30, time.Minute}, {10, 5 * time.Second}}, most: 5*time.Minute + 10*time.Second},
		"more":  {rules: []rule{{100, time.Minute}, {10, 5 * time.Second}}, most: 100 * time.Second},
		"the header states the burst limit": {
			rules: []rule{{60, time.Minute}, {10, 5 * time.Second}}, names: 10, most: 160 * time.Second,
		},
		"none": {most: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.rules, u.limitHeader = test.rules, test.names
				u.fill(4950)
				began := time.Now()
				k.pull(k.newSource(u, nil))
				k.checkAllRows(u)
				if took := time.Since(began); took > test.most {
					t.Errorf("got a pull of %s, want at most %s", took, test.most)
				}
			})
		})
	}
}

// Another client with the same key leaves fewer requests.
func TestLimiter_SharedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
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
		k.pull(k.newSource(u, nil))
		if took := time.Since(began); took > 20*time.Minute {
			t.Errorf("got a pull of %s, want at most 20 minutes", took)
		}
		if ours := strings.Count(k.log.String(), "RATE_LIMIT_EXCEEDED"); ours > 6 {
			t.Errorf("got %d refused requests, want at most 6", ours)
		}
		u.refused = 0 // some refusals are unavoidable with two clients
		k.checkAllRows(u)
	})
}

// No request is sent before the time in Retry-After has passed.
func TestLimiter_RetryAfter(t *testing.T) {
	for _, name := range []string{"429", "503"} {
		synctest.Test(t, func(t *testing.T) {
			u, k := newFakeAPI(), newFakeWarehouse(t)
			u.fill(250)
			pause := map[string]time.Duration{"429": 31 * time.Second, "503": 7 * time.Second}[name]
			var sentAt time.Time
			u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
				if early := pause - time.Since(sentAt); early > 0 {
					t.Errorf("got a request %s too early after status %s", early, name)
				}
				if n%4 == 2 {
					sentAt = time.Now()
					return faults[name]
				}
				return nil
			}
			k.pull(k.newSource(u, nil))
			k.checkAllRows(u)
		})
	}
}

// A pull survives a limit of 100 requests per 15 minutes for its address without rate limit headers, and it
// continues after an interruption.
func TestPull_AddressLimit(t *testing.T) {
	const limit, window = 100, 15 * time.Minute
	for name, refuse := range map[string]http.HandlerFunc{
		"without a time": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, "Too many requests, please try again later.")
		},
		"with RateLimit-Reset": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("RateLimit-Reset", "60")
			writeError(w, 429, "TOO_MANY_REQUESTS", "Too many requests")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, k := newFakeAPI(), newFakeWarehouse(t)
				u.fill(9900)
				var start time.Time
				accepted, pages := 0, 0
				u.intercept = func(int, *http.Request) http.HandlerFunc {
					if time.Since(start) >= window {
						start, accepted = time.Now(), 0
					}
					if accepted++; accepted > limit {
						return func(w http.ResponseWriter, r *http.Request) {
							for _, header := range []string{"Limit", "Remaining", "Reset"} {
								w.Header().Del("X-Ratelimit-" + header)
							}
							refuse(w, r)
						}
					}
					pages++
					return nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // while the first wait lasts
				defer cancel()
				if err := k.newSource(u, nil).Pull(ctx, nil, k.take); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("got %v, want the end of the context", err)
				}
				synctest.Wait()
				if rows := k.rows; rows < 90*pageRows {
					t.Errorf("got %d rows stored before the interruption, want at least %d", rows, 90*pageRows)
				}
				began := time.Now()
				k.pull(k.newSource(u, nil))
				k.checkAllRows(u)
				if took := time.Since(began); took > 3*window || pages > 315 {
					t.Errorf("got %d pages in %s, want about 300 in less than %s", pages, took, 3*window)
				}
			})
		})
	}
}

// Requests that the transport sends again on its own also count towards the limits.
func TestLimiter_CountsTransportRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(2000)
		u.intercept = func(n int, _ *http.Request) http.HandlerFunc {
			if n%2 == 0 {
				return faults["reset"]
			}
			return nil
		}
		k.pull(k.newSource(u, nil))
		k.checkAllRows(u)
	})
}

func TestPull_Progress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u, k := newFakeAPI(), newFakeWarehouse(t)
		u.fill(8000)
		var reports []Progress
		var at []time.Time
		s := k.newSource(u, func(o *Options) {
			o.Progress = func(p Progress) { reports, at = append(reports, p), append(at, time.Now()) }
		})
		k.pull(s)
		first, last := reports[0], reports[len(reports)-1]
		if last.Rows != last.Total || last.Rows != int64(k.rows) || last.Left != 0 {
			t.Errorf("got %+v at the end, want %d rows and no time left", last, k.rows)
		}
		if first.Total < 24_000 || first.Total > 24_000*102/100 {
			t.Errorf("got %+v at the beginning, want a total of 24,000 to 24,480", first)
		}
		for i, p := range reports {
			if wrong := p.Left - at[len(at)-1].Sub(at[i]); wrong.Abs() > 30*time.Second {
				t.Errorf("got %s left, which is wrong by %s, want at most 30s", p.Left, wrong)
			}
		}
	})
}
