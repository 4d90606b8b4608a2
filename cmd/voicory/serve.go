package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse"
)

type serveCommand struct {
	Listen       string        `help:"Address to serve on (${default})." default:"localhost:8080" placeholder:"ADDRESS"`
	Redis        string        `help:"Redis in which several servers share the rate limits: redis://, rediss://, also of a cluster or (with master_name) of sentinels." placeholder:"URL"`
	RedisTimeout time.Duration `help:"How long an answer of Redis is waited for (${default}); a server whose Redis is slower counts by itself." default:"50ms" placeholder:"TIME"`
	RateLimit    limit.Rules   `help:"Requests that each key has in any stretch of time, the longest first (${default}); none lifts it." default:"60/1m,10/5s" placeholder:"N/TIME"`
}

// How long clients may take, and how long a stop waits for answers under way.
const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	stopTimeout   = 10 * time.Second
	publishEvery  = 5 * time.Second
	maxHeader     = 64 << 10
)

// Run serves the API and the operator's socket until the context ends.
func (c *serveCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	log := slog.New(slog.NewTextHandler(m.Stderr, nil))
	w, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	background, stop := context.WithCancel(ctx)
	publishing := make(chan struct{})
	go func() {
		defer close(publishing)
		keepPublished(background, w, log)
	}()
	defer func() {
		stop()
		<-publishing
	}()

	limiter, closeRedis, err := c.limiter(log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRedis()) }()
	public, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	private, err := listenOperator(ctx, warehouse.SocketPath(w.Dir()))
	if err != nil {
		return errors.Join(err, public.Close())
	}
	log.Info("serving", "address", public.Addr().String(), "data", w.Dir())
	if m.Listening != nil {
		m.Listening(public.Addr().String())
	}
	api := httpapi.New(httpapi.Options{Store: w, Limiter: limiter, Rules: c.RateLimit, Log: log})
	return serveAll(ctx, log, public, private, api, operatorHandler(local{w}, log))
}

// keepPublished brings the lake up to date again and again: what a crash left, and what a command that was killed did not
// come to. Publishing takes at most about one twentieth of the time.
func keepPublished(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
	for ctx.Err() == nil {
		start := time.Now()
		if published, err := w.Publish(ctx); err != nil && ctx.Err() == nil {
			log.Error("publish", "error", err)
		} else if published.Files > 0 {
			log.Info("published", "files", published.Files, "rows", published.Rows)
		}
		select {
		case <-ctx.Done():
		case <-time.After(max(publishEvery, 19*time.Since(start))):
		}
	}
}

// serveAll serves the API and the operator until the context ends or one of them fails; then both stop. Answers of the API
// under way are finished first; what the operator does is broken off, since it goes on where it was when it is asked for again.
// When serveAll returns, no handler runs any more.
func serveAll(ctx context.Context, log *slog.Logger, public, private net.Listener, api, operator http.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var handling sync.WaitGroup
	failed := make(chan error, 2)
	serve := func(base context.Context, listener net.Listener, handler http.Handler) *http.Server {
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handling.Add(1)
				defer handling.Done()
				handler.ServeHTTP(w, r)
			}),
			BaseContext:       func(net.Listener) context.Context { return base },
			ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		}
		go func() { failed <- server.Serve(listener) }()
		return server
	}
	answers, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	servers := []*http.Server{serve(answers, public, api), serve(ctx, private, operator)}

	var errs []error
	ended := 0
	select {
	case <-ctx.Done():
	case err := <-failed:
		ended++
		errs = append(errs, err)
	}
	log.Info("stopping")
	cancel()
	stop, done := context.WithTimeout(answers, stopTimeout)
	defer done()
	for _, server := range servers {
		if err := server.Shutdown(stop); err != nil {
			errs = append(errs, server.Close())
		}
	}
	abort()
	for ; ended < len(servers); ended++ {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	handling.Wait()
	return errors.Join(errs...)
}
