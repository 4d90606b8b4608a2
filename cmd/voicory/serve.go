package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
)

type serveCommand struct {
	Listen              string        `help:"Address to serve on (${default})." default:"localhost:8080" placeholder:"ADDRESS"`
	TLSCert             string        `name:"tls-cert" help:"Certificate for HTTPS and HTTP/2; read anew when it changes." type:"path" placeholder:"FILE"`
	TLSKey              string        `name:"tls-key" help:"Its key." type:"path" placeholder:"FILE"`
	OperatorListen      string        `help:"Address for the operator alone: /metrics, /healthz, /readyz. Without it they are on the operator's socket." placeholder:"ADDRESS"`
	Config              string        `help:"File that names the sources to pull from, and when; config.example.yaml explains it." type:"path" placeholder:"FILE"`
	StopTimeout         time.Duration `help:"Time that requests have to finish on a stop (${default}). Then they are cancelled; 10 s later the process exits in any case." default:"30s" placeholder:"TIME"`
	LogFormat           string        `help:"text or json (${default})." enum:"text,json" default:"text" placeholder:"FORMAT"`
	KeepRequests        time.Duration `help:"How long the request log is kept (${default})." default:"720h" placeholder:"TIME"`
	MaxBody             byteSize      `help:"Size of a push of rows, as it comes over the wire (${default}); unpacked at most eight times that." default:"1GB" placeholder:"SIZE"`
	AllowUnsandboxedSQL bool          `name:"allow-unsandboxed-sql" help:"Run SQL of users even if the kernel lacks a protection of the sandbox. The others stay active."`
	limitFlags
}

// Run serves the API and the operator until the context ends.
func (c *serveCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("%w: --tls-cert and --tls-key go together", warehouse.ErrInvalid)
	}
	log := c.logger(m.Stderr)
	var config config
	if c.Config != "" {
		if config, err = readConfig(c.Config); err != nil {
			return err
		}
	}
	w, err := f.open(ctx, true, log)
	if err != nil {
		return err
	}
	watch := newStopWatch(log, m.exit)
	defer watch.limit(ctx, c.StopTimeout+stopGrace)()
	defer func() {
		defer watch.hold("the data folder")()
		err = errors.Join(err, w.Close())
	}()
	sources := newSources(w)
	if err := sources.add(config, log); err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	stop := startLoops(ctx, append(sources.loops(log), func(ctx context.Context) { publishLoop(ctx, w, log) },
		func(ctx context.Context) { requestLogLoop(ctx, w, c.KeepRequests, log) })...)
	defer func() {
		defer watch.hold("pulls, publishing or the request log")()
		stop()
	}()

	registry := newRegistry(w)
	registry.MustRegister(sources)
	options := httpapi.Options{Store: w, Ingest: ingestPush(w, log), MaxBody: int64(c.MaxBody), CursorKey: w.SigningKey("cursor"), FileKey: w.SigningKey("file"), Metrics: registry, Log: log,
		Checks: append([]httpapi.Check{{Name: "warehouse", Required: true, Run: w.Ping}}, sources.checks()...)}
	if options.Queries, err = query.New(query.Options{Files: w, AllowUnsandboxed: c.AllowUnsandboxedSQL, IdleWorkers: idleWorkers, Log: log}); err != nil {
		return err
	}
	defer func() {
		defer watch.hold("processes of SQL")()
		options.Queries.Close()
	}()
	if err := options.Queries.Available(); err != nil {
		log.Warn("there is no SQL", "error", err)
	}
	closeRedis, err := c.apply(&options, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRedis()) }()
	endpoints, err := c.listen(ctx, local{w, sources, options.Queries, options.Slots[httpapi.Queries]}, options, registry, log)
	if err != nil {
		return err
	}
	log.Info("serving", "address", endpoints[0].listener.Addr().String(), "data", w.Dir())
	if m.Listening != nil {
		m.Listening(endpoints[0].listener.Addr().String())
	}
	return serveAll(ctx, log, watch, c.StopTimeout, endpoints...)
}

// logger returns the log of the server. No line of it shows an API key, whatever the key came in.
func (c *serveCommand) logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: maskAttr}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// maskAttr masks keys in every text of a log line.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(warehouse.MaskKeys(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(warehouse.MaskKeys(err.Error()))
		}
	}
	return a
}

// newRegistry holds the metrics of the process and of the warehouse.
func newRegistry(w *warehouse.Warehouse) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "voicory_request_log_dropped_total", Help: "Requests that the request log had no room for."},
			func() float64 { return float64(w.DroppedRequests()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "voicory_quarantine_dropped_total", Help: "Refused rows that the quarantine had no room for."},
			func() float64 { return float64(w.DroppedRefusals()) }),
		unknownFields{w})
	return registry
}

// unknownFields are a metric: each field that rows came with and that no dataset has.
type unknownFields struct{ *warehouse.Warehouse }

var unknownMetric = prometheus.NewDesc("voicory_unknown_field_info", "1 for each field that rows came with since the start and that is not known, nor kept.", []string{"dataset", "field"}, nil)

// Describe is for Prometheus.
func (unknownFields) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- unknownMetric }

// Collect is for Prometheus.
func (u unknownFields) Collect(metrics chan<- prometheus.Metric) {
	for _, field := range u.UnknownFields() {
		metrics <- prometheus.MustNewConstMetric(unknownMetric, prometheus.GaugeValue, 1, field.Dataset, field.Name)
	}
}

// listen opens what the server answers on, the API's face first.
func (c *serveCommand) listen(ctx context.Context, l local, options httpapi.Options, registry *prometheus.Registry, log *slog.Logger) (endpoints []endpoint, err error) {
	defer func() {
		if err != nil {
			for _, endpoint := range endpoints {
				err = errors.Join(err, endpoint.listener.Close())
			}
		}
	}()
	public := endpoint{handler: httpapi.New(options), graceful: true, connections: httpapi.NewConnections(options.TrustedProxies)}
	if c.TLSCert != "" {
		if public.tls, err = reloadingTLSConfig(c.TLSCert, c.TLSKey, log); err != nil {
			return nil, err
		}
	}
	if public.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	endpoints = append(endpoints, public)
	socket := endpoint{handler: adminHandler(l, registry, log)}
	if socket.listener, err = listenAdmin(ctx, warehouse.SocketPath(l.Dir())); err != nil {
		return endpoints, err
	}
	endpoints = append(endpoints, socket)
	if c.OperatorListen != "" {
		watched := endpoint{handler: monitoringHandler(public.handler, registry)}
		if watched.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.OperatorListen); err != nil {
			return endpoints, fmt.Errorf("listen for the operator: %w; choose another address with --operator-listen", err)
		}
		endpoints = append(endpoints, watched)
	}
	return endpoints, nil
}

// inBackground runs the loops until stop is called, which waits for them to end.
func startLoops(ctx context.Context, loops ...func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, loop := range loops {
		running.Go(func() { loop(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// spareWorkers is one for a query and one for the next, which notebooks and dashboards ask before another can be started.
const idleWorkers = 2

// publishEvery is the shortest time between two looks for what is not published.
const publishEvery = 5 * time.Second

// keepPublished brings the lake up to date again and again: what a crash left, and what a command that was killed did not
// come to. Publishing takes at most about one twentieth of the time.
func publishLoop(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
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

// maxRequests bounds the request log, to some hundred MB.
const maxRequests = 2_000_000

// keepRequests writes the request log down every second, and forgets what is older than it is kept.
func requestLogLoop(ctx context.Context, w *warehouse.Warehouse, kept time.Duration, log *slog.Logger) {
	save, forget := time.NewTicker(time.Second), time.NewTicker(10*time.Minute)
	defer save.Stop()
	defer forget.Stop()
	logError := func(err error) {
		if err != nil && ctx.Err() == nil {
			log.Error("request log", "error", err)
		}
	}
	logError(w.PruneRequests(ctx, time.Now().Add(-kept), maxRequests))
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			logError(w.SaveRequests(context.WithoutCancel(ctx))) // what it has taken must not be lost
		case <-forget.C:
			logError(w.PruneRequests(ctx, time.Now().Add(-kept), maxRequests))
		}
	}
}
