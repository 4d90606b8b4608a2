package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/exports/bucket"
	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
)

// Options are the options of Run.
type Options struct {
	Warehouse      warehouse.Options
	Listen         string         // address of the API
	TLSCert        string         // certificate file; "": no TLS
	TLSKey         string         // private key file of the certificate
	OperatorListen string         // address of the monitoring routes; "": none
	TablesListen   string         // address of the tables with the rows of all tenants; "": none
	TablesToken    string         // file with the token for these tables; "": the environment variable has it
	Config         string         // file with the sources to pull from; "": none
	StopTimeout    time.Duration  // time for requests to finish on shutdown
	KeepRequests   time.Duration  // retention of the request log
	ScrubEvery     time.Duration  // period in which each published file is read and verified once; 0: never
	MaxBody        int64          // bytes of a pushed body, as it is sent
	Bucket         bucket.Options // target of the replica of the tables; without a URL: none
	LakeCache      int64          // bytes of published files that stay on the disk; 0: all
	Limits         Limits

	AllowUnsandboxedSQL bool // run SQL of users even if the kernel lacks a protection of the sandbox
	NoIdleWorkers       bool // start SQL workers only when a query needs them

	Log       *slog.Logger
	Listening func(addresses []string) // if not nil, called once connections to Listen and the others are accepted
	Exit      func()                   // ends the process if a shutdown takes too long
}

// idleWorkers is the number of SQL workers that are started ahead: notebooks and dashboards often send a second query
// before another worker could be started.
const idleWorkers = 2

// Run serves the API and the operator's socket until ctx is done.
func Run(ctx context.Context, o Options) (err error) {
	if (o.TLSCert == "") != (o.TLSKey == "") {
		return fmt.Errorf("%w: --tls-cert and --tls-key must be given together", warehouse.ErrInvalid)
	}
	if o.LakeCache > 0 && o.Bucket.URL == "" {
		return fmt.Errorf("%w: --lake-cache needs --lake, because files that are not on this disk are in its bucket",
			warehouse.ErrInvalid)
	}
	log := o.Log
	var config config
	if o.Config != "" {
		if config, err = readConfig(o.Config); err != nil {
			return err
		}
	}
	w, err := warehouse.Open(ctx, o.Warehouse)
	if err != nil {
		return err
	}
	watch := newStopWatch(log, o.Exit)
	defer watch.limit(ctx, o.StopTimeout+stopGrace)()
	defer func() {
		defer watch.hold("the data folder")()
		err = errors.Join(err, w.Close())
	}()
	sources := schedule.New(w)
	if err := addJobs(sources, w, config, log); err != nil {
		return fmt.Errorf("%s: %w", o.Config, err)
	}
	loops := sources.Loops(log)
	registry := newRegistry(w)
	if o.Bucket.URL != "" {
		replicator, err := bucket.New(o.Bucket, w, log)
		if err != nil {
			return err
		}
		registry.MustRegister(replicator)
		loops = append(loops, replicator.Run)
		if o.LakeCache > 0 {
			w.UseLakeCache(replicator, o.LakeCache)
			registry.MustRegister(lakeCache{w})
		}
	}
	loops = append(loops, w.RunLakeCache)
	stop := startLoops(ctx, append(loops, func(ctx context.Context) { publishLoop(ctx, w, log) },
		func(ctx context.Context) { upgradeLoop(ctx, w, log) },
		func(ctx context.Context) { erasureLoop(ctx, w, log) },
		func(ctx context.Context) { retentionLoop(ctx, w, log) },
		func(ctx context.Context) { w.Scrub(ctx, o.ScrubEvery) },
		trimLoop,
		func(ctx context.Context) { requestLogLoop(ctx, w, o.KeepRequests, log) })...)
	defer func() {
		defer watch.hold("sources, publishing or the request log")()
		stop()
	}()

	registry.MustRegister(sources)
	options := httpapi.Options{
		Store: w, Ingest: ingestPush(w, log), MaxBody: o.MaxBody,
		CursorKey: w.SigningKey("cursor"), FileKey: w.SigningKey("file"),
		TableKey: w.SigningKey("table"), Metrics: registry, Log: log,
		Checks: append([]httpapi.Check{{Name: "warehouse", Required: true, Run: w.Ready}}, sourceChecks(sources)...),
	}
	queries := query.Options{Files: w, AllowUnsandboxed: o.AllowUnsandboxedSQL, IdleWorkers: idleWorkers, Log: log}
	if o.NoIdleWorkers {
		queries.IdleWorkers = 0
	}
	options.Queries, err = query.New(queries)
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
	closeRedis, err := o.Limits.apply(&options, registry, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRedis()) }()
	local := &admin.Local{
		Warehouse: w, Sources: sources, Queries: options.Queries, Slots: options.Slots[httpapi.Queries],
	}
	endpoints, err := o.listen(ctx, local, options, registry)
	if err != nil {
		return err
	}
	log.Info("serving", "address", endpoints[0].listener.Addr().String(), "data", w.Dir())
	if o.Listening != nil {
		var addresses []string
		for _, e := range endpoints {
			if e.listener.Addr().Network() == "tcp" { // not the socket of the commands
				addresses = append(addresses, e.listener.Addr().String())
			}
		}
		o.Listening(addresses)
	}
	return serveAll(ctx, log, watch, o.StopTimeout, endpoints...)
}
