package server

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

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

// publishEvery is the shortest time between two searches for stale partitions.
const publishEvery = 5 * time.Second

// republishEvery is the shortest time between two publications of damaged files, and the pause after the first failure.
const republishEvery = time.Second

// publishLoop publishes stale partitions until ctx is done. Stale partitions are left by a crash and by commands that
// were killed before they published. It ends a pause early if a file is damaged or a publication has failed, because
// readers wait for the next one.
func publishLoop(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
	failures := 0 // since the last publication without a failure
	for ctx.Err() == nil {
		start := time.Now()
		published, err := w.Publish(ctx)
		if err != nil && ctx.Err() == nil {
			log.Error("publish", "error", err)
			failures++
		} else {
			failures = 0
		}
		if published.Files > 0 {
			log.Info("published", "files", published.Files, "rows", published.Rows)
		}
		select {
		case <-ctx.Done():
		case <-time.After(publishPause(time.Since(start), failures)):
		case <-w.PublishSoon():
			select {
			case <-ctx.Done():
			case <-time.After(republishEvery - time.Since(start)):
			}
		}
	}
}

// publishPause returns the pause after a publication that took the given time. Pauses are 19 times as long as the work
// before them, so the loop uses at most 5 % of the time. Readers of a tenant whose publication failed get 503, so the
// pause after a failure is shorter: it doubles from republishEvery to publishEvery, and is at least twice the work.
func publishPause(took time.Duration, failures int) time.Duration {
	if failures == 0 {
		return max(publishEvery, 19*took)
	}
	return max(min(republishEvery<<min(failures-1, 8), publishEvery), 2*took)
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

// erasureEvery is the time between two searches for interrupted erasures.
const erasureEvery = time.Minute

// erasureLoop completes the erasures that were interrupted, for example because a long export held the rows.
func erasureLoop(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(erasureEvery):
		}
		if err := w.FinishErasures(ctx); err != nil && ctx.Err() == nil {
			log.Error("complete erasures", "error", err)
		}
	}
}

// retentionEvery is the time between two deletions of rows that are older than their tenants keep.
const retentionEvery = 24 * time.Hour

// retentionLoop deletes rows that are older than their tenants keep, at the start and then once a day.
func retentionLoop(ctx context.Context, w *warehouse.Warehouse, log *slog.Logger) {
	for ctx.Err() == nil {
		expired, err := w.ApplyRetention(ctx)
		for _, e := range expired {
			log.Info("rows deleted by the retention", "tenant", e.Tenant, "rows", e.Rows)
		}
		if err != nil && ctx.Err() == nil {
			log.Error("retention", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retentionEvery):
		}
	}
}

// trimEvery is the time between two returns of free memory to the operating system.
const trimEvery = 30 * time.Second

// trimLoop returns free memory of the C allocator to the operating system, see [duckdb.TrimMemory].
func trimLoop(ctx context.Context) {
	every := time.NewTicker(trimEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			duckdb.TrimMemory()
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
	logError(w.PruneRequests(ctx, retention, maxRequests))
	for {
		select {
		case <-ctx.Done():
			return
		case <-save.C:
			logError(w.SaveRequests(context.WithoutCancel(ctx))) // entries that it has dequeued would be lost
		case <-prune.C:
			logError(w.PruneRequests(ctx, retention, maxRequests))
		}
	}
}
