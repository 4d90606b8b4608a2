package limit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
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

// redisServer starts a redis-server of its own and ends it with the test.
func redisServer(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server here (apt-get install redis-server)")
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	noError(t, listener.Close())
	server := exec.Command(path, "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir()) //nolint:noctx // ends in the clean-up
	noError(t, server.Start())
	client := redis.NewClient(&redis.Options{Addr: fmt.Sprintf("127.0.0.1:%d", port), MaxRetries: 100})
	t.Cleanup(func() {
		noError(t, client.Close())
		noError(t, server.Process.Kill())
		_ = server.Wait() // killed
	})
	noError(t, client.Ping(t.Context()).Err())
	return client
}

// Every limiter must pass this.
func acceptance(t *testing.T, l limit.Limiter) {
	rules := limit.Rules{{Max: 6, Window: 400 * time.Millisecond}, {Max: 3, Window: 100 * time.Millisecond}}

	t.Run("counts down and refuses", func(t *testing.T) {
		for n := range 3 {
			if d := take(t, l, "a", rules); !d.Allowed || d.Remaining != 5-n || d.Reset != rules[0].Window {
				t.Fatalf("request %d: %+v", n, d)
			}
		}
		d := take(t, l, "a", rules)
		if d.Allowed || d.Remaining != 3 || d.Wait <= 0 || d.Wait > 100*time.Millisecond {
			t.Fatalf("%+v", d)
		}
		if d := take(t, l, "b", rules); !d.Allowed {
			t.Fatalf("another subject: %+v", d)
		}
	})
	t.Run("never too many in any window, and none refused without need", func(t *testing.T) {
		var passed []time.Time
		for len(passed) < 20 {
			before := time.Now()
			d := take(t, l, "c", rules)
			if after := time.Now(); d.Allowed {
				for _, rule := range rules {
					// The request that passed Max places back is out of the window, at the latest moments that both can have been.
					if n := len(passed) - rule.Max; n >= 0 && after.Sub(passed[n]) < rule.Window {
						t.Fatalf("%d requests within %v", rule.Max+1, after.Sub(passed[n]))
					}
				}
				passed = append(passed, before)
				continue
			}
			if d.Wait <= 0 || d.Wait > rules[0].Window {
				t.Fatalf("refused, and to wait %v", d.Wait)
			}
			// The wait it says is enough: it is never earlier than the moment a request would pass.
			<-time.After(d.Wait)
			before = time.Now()
			if again := take(t, l, "c", rules); !again.Allowed {
				t.Fatalf("waited %v as told, and refused again: %+v", d.Wait, again)
			}
			passed = append(passed, before)
		}
	})
	t.Run("at the same time", func(t *testing.T) {
		rules := limit.Rules{{Max: 60, Window: time.Minute}, {Max: 10, Window: 30 * time.Second}}
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
			t.Fatalf("%d of 320 requests passed, not 10", allowed.Load())
		}
	})
}

func TestMemory(t *testing.T) { acceptance(t, limit.NewMemory(1000, time.Now)) }

func TestRedis(t *testing.T) { acceptance(t, limit.NewRedis(redisServer(t))) }

func TestRedisHoldsLittle(t *testing.T) {
	client := redisServer(t)
	l := limit.NewRedis(client)
	for range 50 {
		take(t, l, "a", limit.Rules{{Max: 6, Window: time.Minute}})
	}
	length, err := client.LLen(t.Context(), "voicory:limit:a").Result()
	noError(t, err)
	expiry, err := client.PTTL(t.Context(), "voicory:limit:a").Result()
	noError(t, err)
	if length != 6 || expiry <= 0 || expiry > time.Minute {
		t.Errorf("holds %d times for %v", length, expiry)
	}
}

// Against the definition itself, on an invented clock: whatever the moments, a request passes if and only if each rule
// has fewer than Max requests in its window before.
func TestMemoryIsTheDefinition(t *testing.T) {
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
				t.Fatalf("seed %d: at %v allowed is %v", seed, now, d.Allowed)
			}
			if allowed {
				passed = append(passed, now)
				continue
			}
			if now = now.Add(d.Wait - time.Nanosecond); take(t, l, "a", rules).Allowed {
				t.Fatalf("seed %d: passed before the wait was over", seed)
			}
			if now = now.Add(time.Nanosecond); !take(t, l, "a", rules).Allowed {
				t.Fatalf("seed %d: refused after the wait", seed)
			}
			passed = append(passed, now)
		}
	}
}

func TestRulesAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"60/1m,10/5s": "[{60 1m0s} {10 5s}]", "1/1h": "[{1 1h0m0s}]", "none": "[]",
		"": "error", "60": "error", "x/1m": "error", "0/1m": "error", "1/0s": "error", "10/5s,60/1m": "error", "1/1m;2/1s": "error",
	} {
		var rules limit.Rules
		err := rules.UnmarshalText([]byte(text))
		if got := fmt.Sprint(rules); err == nil && got != want || (err != nil) != (want == "error") {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
}

// sick is a limiter that can be away or slow.
type sick struct {
	limit.Limiter
	fault atomic.Pointer[error]
	slow  atomic.Bool
}

func (s *sick) Take(ctx context.Context, subject string, rules limit.Rules) (limit.Decision, error) {
	if s.slow.Load() {
		<-ctx.Done()
		return limit.Decision{}, ctx.Err()
	}
	if fault := s.fault.Load(); fault != nil {
		return limit.Decision{}, *fault
	}
	return s.Limiter.Take(ctx, subject, rules)
}

func TestFallback(t *testing.T) {
	rules := limit.Rules{{Max: 5, Window: time.Hour}}
	shared := &sick{Limiter: limit.NewMemory(1000, time.Now)}
	var told []bool
	l := limit.NewFallback(shared, limit.NewMemory(1000, time.Now), 20*time.Millisecond, 0, func(healthy bool, _ error) { told = append(told, healthy) })
	for range 3 {
		if !take(t, l, "a", rules).Allowed {
			t.Fatal("refused")
		}
	}
	away := errors.New("connection refused")
	shared.fault.Store(&away)
	// Two more pass while Redis is away, and no third: what Redis allowed counts here too.
	for n := range 3 {
		if got := take(t, l, "a", rules).Allowed; got != (n < 2) {
			t.Fatalf("request %d: %v", n, got)
		}
	}
	if l.Healthy() {
		t.Fatal("said to be healthy")
	}
	shared.fault.Store(nil)
	if !take(t, l, "a", rules).Allowed || !l.Healthy() { // Redis knows of three only
		t.Fatal("Redis was not taken up again")
	}
	shared.slow.Store(true)
	if take(t, l, "a", rules).Allowed || l.Healthy() {
		t.Fatal("a slow Redis was waited for")
	}
	if fmt.Sprint(told) != "[false true false]" {
		t.Errorf("told %v", told)
	}
}

func TestFallbackIsALimiter(t *testing.T) {
	acceptance(t, limit.NewFallback(limit.NewRedis(redisServer(t)), limit.NewMemory(1000, time.Now), time.Minute, time.Second, func(healthy bool, cause error) {
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
