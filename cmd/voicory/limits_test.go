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

// withKey makes a data folder that knows one key.
func withKey(t *testing.T) (data, key string) {
	t.Helper()
	data = t.TempDir()
	return data, strings.TrimSpace(wantStatus(t, run(t, "", "keys", "create", "--data", data, "--tenant", someTenant, "--type", "public"), exitDone).stdout)
}

// ask makes n requests, at once where that is wanted, to the urls in turn, and says how many passed; all others were too many.
func ask(t *testing.T, urls []string, key string, n int, atOnce bool) (passed int64) {
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

// Three servers on one Redis give a key 10 requests between them, however many come at once.
func TestServersShareLimitsInRedis(t *testing.T) {
	address, _ := startRedis(t)
	data, key := withKey(t)
	var urls []string
	for range 3 {
		copied := t.TempDir()
		noError(t, os.CopyFS(copied, os.DirFS(data)))
		url, _ := serve(t, copied, "--redis", "redis://"+address, "--redis-timeout", "1m", "--rate-limit", "60/1h,10/30m")
		urls = append(urls, url)
	}
	if passed := ask(t, urls, key, 30, true); passed != 10 {
		t.Fatalf("%d passed, not 10", passed)
	}
}

// A Redis that hangs is not waited for: the server counts by itself, knowing of its own requests before, until Redis is back.
func TestServerWithoutItsRedis(t *testing.T) {
	address, redisProcess := startRedis(t)
	data, key := withKey(t)
	url, _ := serve(t, data, "--redis", "redis://"+address, "--rate-limit", "60/1h,10/30m")
	before := ask(t, []string{url}, key, 4, false)
	noError(t, redisProcess.Signal(syscall.SIGSTOP))
	if passed := ask(t, []string{url}, key, 12, false); before != 4 || passed != 6 {
		t.Errorf("%d passed before Redis hung, %d while it did: not 4 and 6", before, passed)
	}
	noError(t, redisProcess.Signal(syscall.SIGCONT))
	client := redis.NewClient(&redis.Options{Addr: address, MaxRetries: 100})
	noError(t, client.FlushAll(t.Context()).Err())
	noError(t, client.Close())
	for deadline := time.Now().Add(time.Minute); ask(t, []string{url}, key, 1, false) == 0; { // emptied, Redis allows, and is asked again
		if time.Now().After(deadline) {
			t.Fatal("Redis was not taken up again")
		}
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
