package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// startRedis runs a redis-server until the test ends.
func startRedis(t *testing.T) (address string, server *os.Process) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server here (apt-get install redis-server)")
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	noError(t, listener.Close())
	command := exec.Command(path, "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir()) //nolint:noctx // ended below
	noError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait() // killed
	})
	address = fmt.Sprintf("127.0.0.1:%d", port)
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: 100})
	noError(t, client.Ping(t.Context()).Err())
	noError(t, client.Close())
	return address, command.Process
}

// Three servers on one Redis give a key 10 requests in 5 seconds between them, however many come at once; without Redis
// each goes on by itself, and Redis is taken up again when it is back.
func TestServersShareLimitsInRedis(t *testing.T) {
	address, redisProcess := startRedis(t)
	data := t.TempDir()
	key := strings.TrimSpace(wantStatus(t, run(t, "", "keys", "create", "--data", data, "--tenant", someTenant, "--type", "public"), exitDone).stdout)
	var urls []string
	for range 3 {
		copied := t.TempDir()
		noError(t, os.CopyFS(copied, os.DirFS(data)))
		url, _ := serve(t, copied, "--redis", "redis://"+address, "--rate-limit", "60/1h,10/30m")
		urls = append(urls, url)
	}
	defer http.DefaultClient.CloseIdleConnections()
	var passed, refused atomic.Int64
	ask := func(url string) {
		switch status, body := get(t, url+"/api/v1/calls", key); status {
		case 200:
			passed.Add(1)
		case 429:
			refused.Add(1)
		default:
			t.Error(status, body)
		}
	}
	var group sync.WaitGroup
	for n := range 30 {
		group.Go(func() { ask(urls[n%3]) })
	}
	group.Wait()
	if passed.Load() != 10 || refused.Load() != 20 {
		t.Fatalf("%d passed, %d were refused", passed.Load(), refused.Load())
	}

	// A Redis that hangs is not waited for: the server counts by itself, and knows of its own requests before.
	noError(t, redisProcess.Signal(syscall.SIGSTOP))
	start := time.Now()
	passed.Store(0)
	for range 12 {
		ask(urls[0])
	}
	if n := passed.Load(); n > 10 {
		t.Errorf("%d passed while Redis hung", n)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("12 requests took %v while Redis hung", took)
	}
	// Back again, it refuses: the 10 of before are in its windows.
	noError(t, redisProcess.Signal(syscall.SIGCONT))
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: 100})
	noError(t, client.FlushAll(t.Context()).Err())
	noError(t, client.Close())
	passed.Store(0)
	deadline := time.Now().Add(20 * time.Second)
	for passed.Load() < 1 { // flushed, Redis allows again as soon as it is asked again
		if time.Now().After(deadline) {
			t.Fatal("Redis was not taken up again")
		}
		ask(urls[0])
	}
}

func TestRedisURLs(t *testing.T) {
	for text, good := range map[string]bool{
		"redis://localhost:6379/0": true, "rediss://user:secret@example.com:6380": true,
		"redis://localhost:6379?addr=localhost:6380":                    true,
		"redis://localhost:26379?master_name=main&addr=localhost:26380": true,
		"http://localhost": false, "redis://user:secret@localhost:6379/x": false, "::": false,
	} {
		client, err := redisClient(text)
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
		if client != nil {
			noError(t, client.Close())
		}
	}
	if got := wantStatus(t, run(t, "", "serve", "--data", t.TempDir(), "--redis", "http://localhost"), exitUsage); !strings.Contains(got.stderr, "--redis") {
		t.Error(got.stderr)
	}
}
