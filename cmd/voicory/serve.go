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

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

type serveCommand struct {
	Listen              string        `help:"Address to serve on (${default})." default:"localhost:8080" placeholder:"ADDRESS"`
	TLSCert             string        `name:"tls-cert" help:"Certificate for HTTPS and HTTP/2. A renewed file is used without a restart." type:"path" placeholder:"FILE"`
	TLSKey              string        `name:"tls-key" help:"Private key of the certificate." type:"path" placeholder:"FILE"`
	OperatorListen      string        `help:"Address for monitoring: /metrics, /healthz and /readyz. Without it /metrics is only on the admin socket." placeholder:"ADDRESS"`
	Config              string        `help:"File with the sources to pull from and their schedule; see config.example.yaml." type:"path" placeholder:"FILE"`
	StopTimeout         time.Duration `help:"Time for requests to finish on shutdown (${default}). Then they are cancelled; 10 s later the process exits in any case." default:"30s" placeholder:"TIME"`
	LogFormat           string        `help:"Format of log lines: text or json (${default})." enum:"text,json" default:"text" placeholder:"FORMAT"`
	KeepRequests        time.Duration `help:"Retention of the request log (${default})." default:"720h" placeholder:"TIME"`
	MaxBody             byteSize      `help:"Maximum size of a pushed body as it is sent (${default}); at most eight times that when decompressed." default:"1GB" placeholder:"SIZE"`
	AllowUnsandboxedSQL bool          `name:"allow-unsandboxed-sql" help:"Run SQL of users even if the kernel lacks a protection of the sandbox. The other protections stay active."`
	limitFlags
}

// Run serves the API and the admin socket until ctx is done.
func (c *serveCommand) Run(ctx context.Context, m *Main, f *flags) (err error) {
	if (c.TLSCert == "") != (c.TLSKey == "") {
		return fmt.Errorf("%w: --tls-cert and --tls-key must be given together", warehouse.ErrInvalid)
	}
	log := c.logger(m.Stderr)
	var config config
	if c.Config != "" {
		if config, err = readConfig(c.Config); err != nil {
			return err
		}
	}
	w, err := warehouse.Open(ctx, f.warehouse(true, log))
	if err != nil {
		return err
	}
	watch := newStopWatch(log, m.exit)
	defer watch.limit(ctx, c.StopTimeout+stopGrace)()
	defer func() {
		defer watch.hold("the data folder")()
		err = errors.Join(err, w.Close())
	}()
	sources := schedule.New(w)
	if err := addJobs(sources, w, config, log); err != nil {
		return fmt.Errorf("%s: %w", c.Config, err)
	}
	stop := startLoops(ctx, append(sources.Loops(log), func(ctx context.Context) { publishLoop(ctx, w, log) },
		func(ctx context.Context) { upgradeLoop(ctx, w, log) },
		func(ctx context.Context) { requestLogLoop(ctx, w, c.KeepRequests, log) })...)
	defer func() {
		defer watch.hold("sources, publishing or the request log")()
		stop()
	}()

	registry := newRegistry(w)
	registry.MustRegister(sources)
	options := httpapi.Options{
		Store: w, Ingest: ingestPush(w, log), MaxBody: int64(c.MaxBody),
		CursorKey: w.SigningKey("cursor"), FileKey: w.SigningKey("file"), Metrics: registry, Log: log,
		Checks: append([]httpapi.Check{{Name: "warehouse", Required: true, Run: w.Ready}}, sourceChecks(sources)...),
	}
	options.Queries, err = query.New(
		query.Options{Files: w, AllowUnsandboxed: c.AllowUnsandboxedSQL, IdleWorkers: idleWorkers, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		defer watch.hold("SQL workers")()
		options.Queries.Close()
	}()
	if err := options.Queries.Available(); err != nil {
		log.Warn("SQL queries are not available", "error", err)
	}
	closeRedis, err := c.apply(&options, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRedis()) }()
	local := &admin.Local{
		Warehouse: w, Sources: sources, Queries: options.Queries, Slots: options.Slots[httpapi.Queries],
	}
	endpoints, err := c.listen(ctx, local, options, registry, log)
	if err != nil {
		return err
	}
	log.Info("serving", "address", endpoints[0].listener.Addr().String(), "data", w.Dir())
	if m.Listening != nil {
		m.Listening(endpoints[0].listener.Addr().String())
	}
	return serveAll(ctx, log, watch, c.StopTimeout, endpoints...)
}

// logger returns the logger of the server. It masks API keys in the text and error attributes of every line.
func (c *serveCommand) logger(out io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{ReplaceAttr: maskAttr}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// maskAttr masks API keys in an attribute of a log line.
func maskAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(control.MaskKeys(a.Value.String()))
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(control.MaskKeys(err.Error()))
		}
	}
	return a
}

// newRegistry returns a registry with the metrics of the process and of the warehouse.
func newRegistry(w *warehouse.Warehouse) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "voicory_request_log_dropped_total",
			Help: "Entries dropped because the request log was full.",
		}, func() float64 { return float64(w.DroppedRequests()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "voicory_quarantine_dropped_total",
			Help: "Refused rows dropped because the quarantine was full.",
		}, func() float64 { return float64(w.DroppedRefusals()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "voicory_free_bytes",
			Help: "Bytes that can still be written to the disk of the data folder.",
		}, func() float64 { return float64(w.FreeBytes()) }),
		unknownFields{w}, conditions{w})
	return registry
}

// conditions is a metric with one series for each kind of condition.
type conditions struct{ *warehouse.Warehouse }

var conditionsMetric = prometheus.NewDesc("voicory_conditions",
	"Known failures of tenants and of the data folder, by kind; `voicory tenants list` and /readyz of the operator's "+
		"listener have the details.", []string{"kind"}, nil)

// Describe implements prometheus.Collector.
func (conditions) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- conditionsMetric }

// Collect implements prometheus.Collector.
func (c conditions) Collect(metrics chan<- prometheus.Metric) {
	counts := map[warehouse.ConditionKind]int{}
	for _, condition := range c.Conditions() {
		counts[condition.Kind]++
	}
	for _, kind := range warehouse.ConditionKinds {
		metrics <- prometheus.MustNewConstMetric(
			conditionsMetric, prometheus.GaugeValue, float64(counts[kind]), string(kind))
	}
}

// unknownFields is a metric with one series for each field of ingested rows that its dataset does not have.
type unknownFields struct{ *warehouse.Warehouse }

var unknownMetric = prometheus.NewDesc("voicory_unknown_field_info",
	"1 for each unknown field in rows ingested since the start; unknown fields are not stored.",
	[]string{"dataset", "field"}, nil)

// Describe implements prometheus.Collector.
func (unknownFields) Describe(descriptions chan<- *prometheus.Desc) { descriptions <- unknownMetric }

// Collect implements prometheus.Collector.
func (u unknownFields) Collect(metrics chan<- prometheus.Metric) {
	for _, field := range u.UnknownFields() {
		metrics <- prometheus.MustNewConstMetric(unknownMetric, prometheus.GaugeValue, 1, field.Dataset, field.Name)
	}
}

// listen opens the listeners of the server and returns their endpoints, that of the public API first. If it returns an
// error, it has closed all listeners.
func (c *serveCommand) listen(
	ctx context.Context, l *admin.Local, options httpapi.Options, registry *prometheus.Registry, log *slog.Logger,
) (endpoints []endpoint, err error) {
	defer func() {
		if err != nil {
			for _, endpoint := range endpoints {
				err = errors.Join(err, endpoint.listener.Close())
			}
		}
	}()
	public := endpoint{
		handler: httpapi.New(options), graceful: true, connections: httpapi.NewConnections(options.TrustedProxies),
	}
	if c.TLSCert != "" {
		if public.tls, err = reloadingTLSConfig(c.TLSCert, c.TLSKey, log); err != nil {
			return nil, err
		}
	}
	if public.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w; choose another address with --listen", err)
	}
	endpoints = append(endpoints, public)
	socket := endpoint{handler: operatorHandler(l, registry, log)}
	if socket.listener, err = admin.Listen(ctx, warehouse.SocketPath(l.Warehouse.Dir())); err != nil {
		return endpoints, err
	}
	endpoints = append(endpoints, socket)
	if c.OperatorListen != "" {
		watched := endpoint{handler: monitoringHandler(public.handler, registry)}
		if watched.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.OperatorListen); err != nil {
			return endpoints, fmt.Errorf("listen for monitoring: %w; choose another address with --operator-listen", err)
		}
		endpoints = append(endpoints, watched)
	}
	return endpoints, nil
}

// startLoops starts a goroutine for each loop. stop cancels their context and waits until all have returned.
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

// idleWorkers is the number of SQL workers that are started ahead: notebooks and dashboards often send a second query
// before another worker could be started.
const idleWorkers = 2

// publishEvery is the shortest time between two searches for stale partitions.
const publishEvery = 5 * time.Second

// publishLoop publishes stale partitions until ctx is done. Stale partitions are left by a crash and by commands that
// were killed before they published. The loop pauses 19 times as long as it works, so it uses at most 5 % of the time.
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

// upgradeRetry is the pause before published files are upgraded again after an error.
const upgradeRetry = time.Hour

// upgradeLoop upgrades the published files of earlier versions, once in a data folder. publishLoop runs meanwhile.
func upgradeLoop(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
	for {
		upgraded, err := w.UpgradePublished(ctx)
		if upgraded.Files > 0 {
			log.Info("published files upgraded", "files", upgraded.Files, "rows", upgraded.Rows)
		}
		if err == nil {
			return
		}
		if ctx.Err() == nil {
			log.Error("upgrade published files", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(upgradeRetry):
		}
	}
}

// maxRequests is the maximum number of entries of the request log. They take a few hundred MB.
const maxRequests = 2_000_000

// requestLogLoop stores new entries of the request log every second and deletes old ones every 10 minutes.
func requestLogLoop(ctx context.Context, w *warehouse.Warehouse, retention time.Duration, log *slog.Logger) {
	save, prune := time.NewTicker(time.Second), time.NewTicker(10*time.Minute)
	defer save.Stop()
	defer prune.Stop()
	logError := func(err error) {
		if err != nil && ctx.Err() == nil {
			log.Error("request log", "error", err)
		}
	}
	logError(w.PruneRequests(ctx, time.Now().Add(-retention), maxRequests))
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			logError(w.SaveRequests(context.WithoutCancel(ctx))) // entries that it has dequeued would be lost
		case <-prune.C:
			logError(w.PruneRequests(ctx, time.Now().Add(-retention), maxRequests))
		}
	}
}
