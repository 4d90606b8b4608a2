package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/voicory/warehouse/httpapi/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func take(t *testing.T, l limit.Limiter, subject string, rules limit.Rules) limit.Decision {
	t.Helper()
	d, err := l.Take(t.Context(), subject, rules)
	noError(t, err)
	return d
}

// startRedis starts a redis-server of its own and ends it with the test.
func startRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server here (apt-get install redis-server)")
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "redis") // a free port might be taken before the server has it
	args := []string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir}
	server := exec.Command(path, args...) //nolint:noctx // ends in the clean-up
	noError(t, server.Start())
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: 100})
	t.Cleanup(func() {
		noError(t, client.Close())
		noError(t, server.Process.Kill())
		_ = server.Wait() // killed
	})
	noError(t, client.Ping(t.Context()).Err())
	return client
}

// testLimiter checks the behaviour that all limiters share.
func testLimiter(t *testing.T, l limit.Limiter) {
	rules := limit.Rules{{Max: 6, Window: 400 * time.Millisecond}, {Max: 3, Window: 100 * time.Millisecond}}

	t.Run("counts down and refuses", func(t *testing.T) {
		rules := limit.Rules{{Max: 6, Window: 4 * time.Hour}, {Max: 3, Window: time.Hour}}
		for n := range 3 {
			if d := take(t, l, "a", rules); !d.Allowed || d.Remaining != 5-n || d.Reset != rules[0].Window {
				t.Fatalf("request %d: got %+v, want allowed with %d remaining", n, d, 5-n)
			}
		}
		d := take(t, l, "a", rules)
		if d.Allowed || d.Remaining != 3 || d.Wait <= 0 || d.Wait > time.Hour {
			t.Fatalf("request 3: got %+v, want refused with a wait of at most 1h", d)
		}
		if d := take(t, l, "b", rules); !d.Allowed {
			t.Fatalf("another subject: got %+v, want allowed", d)
		}
	})
	t.Run("allows exactly the rule's number in any window", func(t *testing.T) {
		var passed []time.Time
		for len(passed) < 20 {
			before := time.Now()
			d := take(t, l, "c", rules)
			if after := time.Now(); d.Allowed {
				for _, rule := range rules {
					// The request Max positions before is outside the window, even by the latest possible times.
					if n := len(passed) - rule.Max; n >= 0 && after.Sub(passed[n]) < rule.Window {
						t.Fatalf("got %d requests within %v, want %d", rule.Max+1, after.Sub(passed[n]), rule.Max)
					}
				}
				passed = append(passed, before)
				continue
			}
			if d.Wait <= 0 || d.Wait > rules[0].Window {
				t.Fatalf("got a wait of %v, want at most %v", d.Wait, rules[0].Window)
			}
			// A request after the wait is allowed.
			<-time.After(d.Wait)
			before = time.Now()
			if again := take(t, l, "c", rules); !again.Allowed {
				t.Fatalf("after a wait of %v: got %+v, want allowed", d.Wait, again)
			}
			passed = append(passed, before)
		}
	})
	t.Run("at the same time", func(t *testing.T) {
		rules := limit.Rules{{Max: 60, Window: 2 * time.Hour}, {Max: 10, Window: time.Hour}}
		var allowed atomic.Int64
		var group sync.WaitGroup
		for range 16 {
			group.Go(func() {
				for range 20 {
					if d, err := l.Take(t.Context(), "d", rules); err == nil && d.Allowed {
						allowed.Add(1)
					}
				}
			})
		}
		group.Wait()
		if allowed.Load() != 10 {
			t.Fatalf("got %d of 320 requests allowed, want 10", allowed.Load())
		}
	})
}

func TestMemory_IsALimiter(t *testing.T) { testLimiter(t, limit.NewMemory(1000, time.Now)) }

func TestRedis_IsALimiter(t *testing.T) { testLimiter(t, limit.NewRedis(startRedis(t))) }

func TestRedis_BoundedState(t *testing.T) {
	client := startRedis(t)
	l := limit.NewRedis(client)
	for range 50 {
		take(t, l, "a", limit.Rules{{Max: 6, Window: time.Minute}})
	}
	length, err := client.LLen(t.Context(), "voicory:limit:a").Result()
	noError(t, err)
	expiry, err := client.PTTL(t.Context(), "voicory:limit:a").Result()
	noError(t, err)
	if length != 6 || expiry <= 0 || expiry > time.Minute {
		t.Errorf("got %d times with an expiry of %v, want 6 and at most a minute", length, expiry)
	}
}

// Compares Memory with the definition, on a fake clock: a request is allowed if and only if each rule has fewer than
// Max requests in the window before it.
func TestMemory_MatchesDefinition(t *testing.T) {
	rules := limit.Rules{{Max: 7, Window: 60 * time.Second}, {Max: 3, Window: 5 * time.Second}}
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		now := time.Unix(0, 0)
		l := limit.NewMemory(1000, func() time.Time { return now })
		var passed []time.Time
		for range 400 {
			now = now.Add(time.Duration(r.IntN(4000)) * time.Millisecond)
			allowed := true
			for _, rule := range rules {
				within := 0
				for _, at := range passed {
					if now.Sub(at) < rule.Window {
						within++
					}
				}
				allowed = allowed && within < rule.Max
			}
			d := take(t, l, "a", rules)
			if d.Allowed != allowed {
				t.Fatalf("seed %d: at %v got allowed %v, want %v", seed, now, d.Allowed, allowed)
			}
			if allowed {
				passed = append(passed, now)
				continue
			}
			if now = now.Add(d.Wait - time.Nanosecond); take(t, l, "a", rules).Allowed {
				t.Fatalf("seed %d: got allowed before the end of the wait, want refused", seed)
			}
			if now = now.Add(time.Nanosecond); !take(t, l, "a", rules).Allowed {
				t.Fatalf("seed %d: got refused after the wait, want allowed", seed)
			}
			passed = append(passed, now)
		}
	}
}

func TestRules_UnmarshalText(t *testing.T) {
	for text, want := range map[string]string{
		"60/1m,10/5s": "[{60 1m0s} {10 5s}]", "1/1h": "[{1 1h0m0s}]", "none": "[]",
		"": "error", "60": "error", "x/1m": "error", "0/1m": "error", "1/0s": "error", "10/5s,60/1m": "error",
		"1/1m;2/1s": "error",
	} {
		var rules limit.Rules
		err := rules.UnmarshalText([]byte(text))
		if got := fmt.Sprint(rules); err == nil && got != want || (err != nil) != (want == "error") {
			t.Errorf("%q: got %s and error %v, want %s", text, got, err, want)
		}
	}
}

// A faultyLimiter fails or blocks on request.
type faultyLimiter struct {
	limit.Limiter
	fault atomic.Pointer[error]
	slow  atomic.Bool
}

func (s *faultyLimiter) Take(ctx context.Context, subject string, rules limit.Rules) (limit.Decision, error) {
	if s.slow.Load() {
		<-ctx.Done()
		return limit.Decision{}, ctx.Err()
	}
	if fault := s.fault.Load(); fault != nil {
		return limit.Decision{}, *fault
	}
	return s.Limiter.Take(ctx, subject, rules)
}

func TestFallback_TakesOverAndReturns(t *testing.T) {
	rules := limit.Rules{{Max: 5, Window: time.Hour}}
	shared := &faultyLimiter{Limiter: limit.NewMemory(1000, time.Now)}
	var changes []bool
	l := limit.NewFallback(shared, limit.NewMemory(1000, time.Now), 20*time.Millisecond, 0,
		func(healthy bool, _ error) { changes = append(changes, healthy) })
	for range 3 {
		if !take(t, l, "a", rules).Allowed {
			t.Fatal("got refused, want allowed")
		}
	}
	away := errors.New("connection refused")
	shared.fault.Store(&away)
	// Two more requests are allowed while Redis fails, because those that Redis allowed were counted in memory as well.
	for n := range 3 {
		if got := take(t, l, "a", rules).Allowed; got != (n < 2) {
			t.Fatalf("request %d: got allowed %v, want %v", n, got, n < 2)
		}
	}
	if l.Healthy() {
		t.Fatal("got healthy after a failure, want unhealthy")
	}
	shared.fault.Store(nil)
	if !take(t, l, "a", rules).Allowed || !l.Healthy() { // Redis has counted three only
		t.Fatal("got refused or unhealthy after Redis recovered, want allowed and healthy")
	}
	shared.slow.Store(true)
	if take(t, l, "a", rules).Allowed || l.Healthy() {
		t.Fatal("got allowed or healthy with a slow Redis, want neither")
	}
	if fmt.Sprint(changes) != "[false true false]" {
		t.Errorf("got changes %v, want [false true false]", changes)
	}
}

func TestFallback_IsALimiter(t *testing.T) {
	testLimiter(t, limit.NewFallback(limit.NewRedis(startRedis(t)), limit.NewMemory(1000, time.Now), time.Minute,
		time.Second, func(healthy bool, cause error) {
			t.Errorf("healthy %v: %v", healthy, cause)
		}))
}

func BenchmarkMemory(b *testing.B) {
	l := limit.NewMemory(1000, time.Now)
	rules := limit.Rules{{Max: 60, Window: time.Minute}, {Max: 10, Window: 5 * time.Second}}
	for b.Loop() {
		if _, err := l.Take(b.Context(), "a", rules); err != nil {
			b.Fatal(err)
		}
	}
}
