package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
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
	return serveAll(ctx, log, map[net.Listener]http.Handler{
		public:  httpapi.New(httpapi.Options{Store: w, Limiter: limiter, Rules: c.RateLimit, Log: log}),
		private: operatorHandler(local{w}, log),
	})
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

// serveAll serves each handler on its listener until the context ends or one of them fails; then all stop, answers under
// way being finished first.
func serveAll(ctx context.Context, log *slog.Logger, handlers map[net.Listener]http.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var servers []*http.Server
	failed := make(chan error, len(handlers))
	for listener, handler := range handlers {
		server := &http.Server{
			Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		}
		servers = append(servers, server)
		go func() { failed <- server.Serve(listener) }()
	}
	var errs []error
	ended := 0
	select {
	case <-ctx.Done():
	case err := <-failed:
		ended++
		errs = append(errs, err)
	}
	log.Info("stopping")
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	for _, server := range servers {
		if err := server.Shutdown(stop); err != nil {
			errs = append(errs, server.Close())
		}
	}
	for ; ended < len(servers); ended++ {
		if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
