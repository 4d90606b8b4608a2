package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/httpapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// If a handler ignores its cancellation, the process exits at the limit and logs the request.
func TestStop_HandlerThatHangs(t *testing.T) {
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	noError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var log bytes.Buffer
	hanging, exited := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(hanging) })
	defer release()
	watch := newStopWatch(slog.New(slog.NewTextHandler(&log, nil)), func() { close(exited) })
	ended := watch.limit(ctx, time.Millisecond)
	served := make(chan error)
	go func() {
		served <- serveAll(ctx, slog.New(slog.DiscardHandler), watch, time.Millisecond,
			endpoint{listener: listener, graceful: true, connections: httpapi.NewConnections(nil),
				handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
					stop()
					<-hanging // ignores its context
				})})
	}()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		"http://"+listener.Addr().String()+"/api/v1/calls/secret", nil)
	noError(t, err)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	<-exited
	if got := log.String(); !strings.Contains(got, "request GET /api/v1/calls") || strings.Contains(got, "secret") {
		t.Errorf("got %s, want the request", got)
	}
	release()
	noError(t, <-served)
	ended()
}

// A shutdown within the limit does not call exit.
func TestStop_InTime(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	watch := newStopWatch(slog.New(slog.DiscardHandler), func() { t.Error("got an exit, want none") })
	release := watch.hold("work")
	ended := watch.limit(ctx, time.Hour)
	stop()
	release()
	ended()
}
