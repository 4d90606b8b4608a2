package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/voicory/warehouse/warehouse"
)

// startRedis runs a redis-server on a socket until the test ends. A free port might be taken before the server has it.
func startRedis(t *testing.T) (socket string, server *os.Process) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed (apt-get install redis-server)")
	}
	dir := t.TempDir()
	socket = filepath.Join(dir, "redis")
	args := []string{"--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir}
	command := exec.Command(path, args...) //nolint:noctx // ended below
	noError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: 100})
	noError(t, client.Ping(t.Context()).Err())
	noError(t, client.Close())
	return socket, command.Process
}

// newFolderWithKey creates a data folder with one public key.
func newFolderWithKey(t *testing.T) (data, key string) {
	t.Helper()
	data = t.TempDir()
	return data, createKey(t, data, someTenant, "public")
}

// sendRequests sends n requests to the urls in turn, concurrently if atOnce is true. It returns the number with status
// 200; the others must have status 429.
func sendRequests(t *testing.T, urls []string, key string, n int, atOnce bool) (passed int64) {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	var count atomic.Int64
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			switch status, body := get(t, urls[i%len(urls)]+"/api/v1/calls", key); status {
			case http.StatusOK:
				count.Add(1)
			case http.StatusTooManyRequests:
			default:
				t.Error(status, body)
			}
		})
		if !atOnce {
			group.Wait()
		}
	}
	group.Wait()
	return count.Load()
}

// Two servers that share a Redis allow a key 10 requests per second together. By the clock of Redis, no second has 11
// requests.
func TestLimits_SharedInRedis(t *testing.T) {
	t.Parallel()
	socket, _ := startRedis(t)
	data, key := newFolderWithKey(t)
	var urls []string
	for range 2 {
		copied := t.TempDir()
		noError(t, os.CopyFS(copied, os.DirFS(data)))
		url, _ := serve(t, copied, "--redis", "unix://"+socket, "--redis-timeout", "1m", "--rate-limit", "60/1m,10/1s")
		urls = append(urls, url)
	}
	var passed int64
	until(t, "requests of three seconds are allowed", func() bool {
		passed += sendRequests(t, urls, key, 12, true)
		return passed > 20
	})
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	defer func() { noError(t, client.Close()) }()
	keys, err := client.Keys(t.Context(), "voicory:limit:*").Result()
	noError(t, err)
	if len(keys) != 1 {
		t.Fatalf("got Redis keys %v, want one", keys)
	}
	texts, err := client.LRange(t.Context(), keys[0], 0, -1).Result()
	noError(t, err)
	if int64(len(texts)) != passed {
		t.Errorf("got %d requests in Redis, want the %d that were allowed", len(texts), passed)
	}
	var times []int64
	for _, text := range texts {
		at, err := strconv.ParseInt(text, 10, 64)
		noError(t, err)
		times = append(times, at)
	}
	full := 0
	for i := range times {
		if i+10 < len(times) && times[i+10]-times[i] < 1_000_000 {
			t.Errorf("got 11 requests within %d microseconds, want at most 10 per second", times[i+10]-times[i])
		}
		if i+9 < len(times) && times[i+9]-times[i] < 1_000_000 {
			full++
		}
	}
	if full == 0 {
		t.Error("got no second with 10 requests, want some")
	}
}

// While Redis hangs, the server enforces the limits by itself, including its own earlier requests. It uses Redis again
// once Redis replies.
func TestLimits_RedisOutage(t *testing.T) {
	t.Parallel()
	socket, redisProcess := startRedis(t)
	data, key := newFolderWithKey(t)
	url, _ := serve(t, data, "--redis", "unix://"+socket, "--rate-limit", "60/1h,10/30m")
	state := func() string {
		_, ready := get(t, url+"/readyz", "")
		return ready + " " + regexp.MustCompile(`(?m)^voicory_redis_up .`).FindString(metrics(t, data))
	}
	if got := state(); got != `{"status":"ready","checks":{"redis":"ok","warehouse":"ok"},"conditions":{}} voicory_redis_up 1` {
		t.Error(got)
	}
	before := sendRequests(t, []string{url}, key, 4, false)
	noError(t, redisProcess.Signal(syscall.SIGSTOP))
	if passed := sendRequests(t, []string{url}, key, 12, false); before != 4 || passed != 6 {
		t.Errorf("got %d requests before Redis hung and %d after, want 4 and 6", before, passed)
	}
	if got := state(); got != `{"status":"degraded","checks":{"redis":"away","warehouse":"ok"},"conditions":{}} voicory_redis_up 0` {
		t.Error(got)
	}
	noError(t, redisProcess.Signal(syscall.SIGCONT))
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: 100})
	noError(t, client.FlushAll(t.Context()).Err())
	noError(t, client.Close())
	// Redis is empty, so it allows a request once the server uses it
	for deadline := time.Now().Add(5 * time.Minute); sendRequests(t, []string{url}, key, 1, false) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("timed out: the server does not use Redis again")
		}
	}
	until(t, "Redis is in use", func() bool {
		return strings.HasSuffix(state(), `"redis":"ok","warehouse":"ok"},"conditions":{}} voicory_redis_up 1`)
	})
}

// metrics returns the metrics that the admin socket serves.
func metrics(t *testing.T, data string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://voicory/metrics", nil)
	noError(t, err)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn,
		error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", warehouse.SocketPath(data))
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	noError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	return string(body)
}

func TestServe_RefusesAnInvalidRedisURL(t *testing.T) {
	t.Parallel()
	if got := wantStatus(t, run(t, "", "serve", "--data", t.TempDir(), "--redis", "http://localhost"),
		exitUsage); !strings.Contains(got.stderr, "--redis") {
		t.Error(got.stderr)
	}
}
