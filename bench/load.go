package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

const (
	loadRows = 100_000
	clients  = 16              // concurrent connections, or goroutines in this process
	warmTime = time.Second     // duration of the warm-up
	loadTime = 2 * time.Second // duration of each measurement

	keysKept  = 1000    // number of keys that exist during the check
	keyChecks = 100_000 // per round
	targetKey = 5.0     // µs
)

// A speed is the result of a load: requests in total and per second, and the 99th percentile of their times in ms.
type speed struct {
	requests       int
	perSecond, p99 float64
}

// A loadGenerator puts a server or a database under load for the given time.
type loadGenerator func(ctx context.Context, d time.Duration) (speed, error)

// measurePair measures two load generators in the order one, other, other, one, so that a machine whose speed drifts
// affects both equally. The figures of each are the means of its two turns.
func measurePair(ctx context.Context, one, other loadGenerator) (speeds [2]speed, err error) {
	sides := [2]loadGenerator{one, other}
	for turn, who := range []int{0, 1, 0, 1, 1, 0} {
		warming := turn < len(sides)
		d := loadTime
		if warming {
			d = warmTime
		}
		had, err := sides[who](ctx, d)
		if err != nil {
			return speeds, err
		}
		speeds[who].requests += had.requests
		if !warming {
			speeds[who].perSecond += had.perSecond / 2
			speeds[who].p99 += had.p99 / 2
		}
	}
	return speeds, nil
}

// load measures the server under load, in a process of its own.
func (b *bench) load(ctx context.Context) error {
	file, err := b.calls(loadRows)
	if err != nil {
		return err
	}
	tenant := &loaded{data: filepath.Join(b.dir, "load"), file: file}
	if _, _, err := b.voicoryIngest(ctx, tenant.data, file); err != nil {
		return err
	}
	keys, err := b.keyCheck(ctx, tenant)
	if err != nil {
		return err
	}
	if !b.canRun("wrk", "the server under load") {
		return nil
	}
	other := &loaded{data: filepath.Join(b.dir, "load-other"),
		file: file} // copy for the second server, because only one process may open a folder
	if err := os.CopyFS(other.data, os.DirFS(tenant.data)); err != nil {
		return fmt.Errorf("copy the tenant: %w", err)
	}
	if err := b.loadCases(ctx, tenant, other, keys[0]); err != nil {
		return err
	}
	return b.redisLimits(ctx, tenant, other, keys)
}

// keyCheck measures the time to authenticate a key, and returns the keys that it created.
func (b *bench) keyCheck(ctx context.Context, tenant *loaded) (keys []string, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: tenant.data})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for range keysKept {
		_, key, err := w.CreateKey(ctx, tenantID, control.Public, control.KeySettings{Label: "bench"})
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	var each sample // µs
	for range b.rounds {
		var took sample
		if err := took.timed(func() error {
			for i := range keyChecks {
				if _, _, err := w.Authenticate(keys[i%len(keys)]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return nil, err
		}
		each = append(each, took[0]*1e3/keyChecks)
	}
	b.table.add(row{"a key check, of " + thousands(keysKept) + " keys", "–", fmt.Sprintf("≤ %g µs", targetKey),
		fmt.Sprintf("%.2f µs (%.2f–%.2f)", each.median(), slices.Min(each), slices.Max(each)),
		result(fmt.Sprintf("%.2f µs", each.median()), each.median() <= targetKey)})
	return keys, nil
}

// A loadCase is a request that many clients make at the same time, to the server and to DuckDB in this process.
type loadCase struct {
	*readCase
	name        string
	targetSpeed float64 // × the requests per second in the process
	targetP99   float64 // × the p99 in the process

	perSecond, p99             sample // of the server
	insidePerSecond, insideP99 sample
}

// loadCases measures single calls and the first page against the same SQL in this process.
func (b *bench) loadCases(ctx context.Context, tenant, other *loaded, key string) error {
	return withFile(ctx, other.path(), func(db *sql.DB) error {
		db.SetMaxOpenConns(clients)
		db.SetMaxIdleConns(clients)
		one, err := oneByID(ctx, db)
		if err != nil {
			return err
		}
		first, err := page(ctx, db, 1)
		if err != nil {
			return err
		}
		asks := []*loadCase{
			{readCase: one, name: "one call by id", targetSpeed: 0.6, targetP99: 3},
			{readCase: first, name: fmt.Sprintf("first page of %d calls", pageRows), targetSpeed: 0.7, targetP99: 2},
		}
		for i := range b.rounds {
			if err := b.withServer(ctx, tenant.data, key, func(ctx context.Context, c *client) error {
				for _, a := range asks {
					if err := b.compareLoad(ctx, a, c, db); err != nil {
						return fmt.Errorf("%s: %w", a.name, err)
					}
					logf("round %d: %s: %.0f/s, p99 %.1f ms, in process %.0f/s, p99 %.1f ms", i+1, a.name,
						a.perSecond[i], a.p99[i], a.insidePerSecond[i], a.insideP99[i])
				}
				return nil
			}, "--rate-limit", "none"); err != nil {
				return err
			}
		}
		for _, a := range asks {
			a.addRows(&b.table)
		}
		return nil
	})
}

// compareLoad measures one round. It returns an error if the response of the server differs from the result of the
// statement.
func (b *bench) compareLoad(ctx context.Context, a *loadCase, c *client, db *sql.DB) error {
	items, err := texts(ctx, db, a.statement, a.args(0)...)
	if err != nil {
		return err
	}
	body, err := c.get(ctx, a.path(0))
	if err != nil {
		return err
	}
	if !containsAll(body, items[:min(len(items), pageRows)]) { // a page selects one row more than it returns
		return fmt.Errorf("the response of %s differs from the result of the SQL", a.path(0))
	}
	var lines bytes.Buffer
	for i := range differentIDs {
		fmt.Fprintln(&lines, c.key, a.path(i))
	}
	speeds, err := measurePair(ctx, b.wrk(c.url, clients, lines.Bytes()), a.concurrently(db))
	a.perSecond, a.insidePerSecond = append(a.perSecond,
		speeds[0].perSecond), append(a.insidePerSecond, speeds[1].perSecond)
	a.p99, a.insideP99 = append(a.p99, speeds[0].p99), append(a.insideP99, speeds[1].p99)
	return err
}

// concurrently returns a load generator that runs the statement in many goroutines, each with its own connection.
func (a *readCase) concurrently(db *sql.DB) loadGenerator {
	return func(ctx context.Context, d time.Duration) (speed, error) {
		took := make([]sample, clients)
		var asked atomic.Int64
		group, ctx := errgroup.WithContext(ctx)
		start := time.Now()
		for c := range clients {
			group.Go(func() error {
				for time.Since(start) < d {
					args := a.args(int(asked.Add(1)))
					if err := took[c].timed(func() error {
						_, err := texts(ctx, db, a.statement, args...)
						return err
					}); err != nil {
						return err
					}
				}
				return nil
			})
		}
		err := group.Wait()
		all := slices.Concat(took...)
		return speed{len(all), float64(len(all)) / time.Since(start).Seconds(), all.percentile(99)}, err
	}
}

// addRows adds the figures to the table.
func (a *loadCase) addRows(t *table) {
	work := fmt.Sprintf("%s of %s, %d connections: ", a.name, thousands(loadRows), clients)
	against := fmt.Sprintf("the same SQL in the process, %d at once", clients)
	ratios := ratioOfEach(a.perSecond, a.insidePerSecond)
	t.add(row{work + "requests per second", against, fmt.Sprintf("≥ %g×", a.targetSpeed),
		fmt.Sprintf("%.0f/s against %.0f/s", a.perSecond.median(), a.insidePerSecond.median()),
		result(ratios.ratio(), ratios.median() >= a.targetSpeed)})
	ratios = ratioOfEach(a.p99, a.insideP99)
	t.add(row{work + "p99", against, fmt.Sprintf("≤ %g×", a.targetP99),
		fmt.Sprintf("%.1f ms against %.1f ms", a.p99.median(), a.insideP99.median()),
		result(ratios.ratio(), ratios.median() <= a.targetP99)})
}
