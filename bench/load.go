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
)

const (
	loadRows = 100_000
	clients  = 16              // connections that ask at once; in the process as many goroutines
	warmTime = time.Second     // of load before what is measured
	loadTime = 2 * time.Second // of load in each turn

	keysKept  = 1000    // when one is checked
	keyChecks = 100_000 // in each round
	reachKey  = 5.0     // µs
)

// speed is what many at once had: requests in all and in each second, and the ms that 99 of 100 did not take longer than.
type speed struct {
	requests       int
	perSecond, p99 float64
}

// side is one of two that are compared: it is put under load for a time.
type side func(ctx context.Context, d time.Duration) (speed, error)

// inTurns measures two sides: the one, the other, the other, the one, so that a machine that becomes slower or faster meanwhile
// does so for both. The figures of each are the means of its turns.
func inTurns(ctx context.Context, one, other side) (speeds [2]speed, err error) {
	sides := [2]side{one, other}
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

// load measures the server under load, as a process of its own.
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
	other := &loaded{data: filepath.Join(b.dir, "load-other"), file: file} // for the other side: a folder is one process's
	if err := os.CopyFS(other.data, os.DirFS(tenant.data)); err != nil {
		return fmt.Errorf("copy the tenant: %w", err)
	}
	if err := b.askedByMany(ctx, tenant, other, keys[0]); err != nil {
		return err
	}
	return b.limitedInRedis(ctx, tenant, other, keys)
}

// keyCheck measures how long a key is looked at, and returns those that it made.
func (b *bench) keyCheck(ctx context.Context, tenant *loaded) (keys []string, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: tenant.data})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for range keysKept {
		_, key, err := w.CreateKey(ctx, tenantID, warehouse.Public, warehouse.KeySettings{Label: "bench"})
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
	b.table.add(row{"a key check, of " + thousands(keysKept) + " keys", "–", fmt.Sprintf("≤ %g µs", reachKey),
		fmt.Sprintf("%.2f µs (%.2f–%.2f)", each.median(), slices.Min(each), slices.Max(each)),
		verdict(fmt.Sprintf("%.2f µs", each.median()), each.median() <= reachKey)})
	return keys, nil
}

// underLoad is something asked by many at once, of the server and of DuckDB in the process.
type underLoad struct {
	*ask
	name       string
	reachSpeed float64 // × the requests per second in the process
	reachP99   float64 // × the p99 in the process

	perSecond, p99             sample // of the server
	insidePerSecond, insideP99 sample
}

// askedByMany measures single calls and the first page, in turns with the same SQL in the process.
func (b *bench) askedByMany(ctx context.Context, tenant, other *loaded, key string) error {
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
		asks := []*underLoad{
			{ask: one, name: "one call by id", reachSpeed: 0.6, reachP99: 3},
			{ask: first, name: fmt.Sprintf("first page of %d calls", pageRows), reachSpeed: 0.7, reachP99: 2},
		}
		for i := range b.rounds {
			if err := b.served(ctx, tenant.data, key, func(ctx context.Context, c *client) error {
				for _, a := range asks {
					if err := b.compareLoad(ctx, a, c, db); err != nil {
						return fmt.Errorf("%s: %w", a.name, err)
					}
					note("round %d: %s: %.0f/s, p99 %.1f ms, in process %.0f/s, p99 %.1f ms", i+1, a.name,
						a.perSecond[i], a.p99[i], a.insidePerSecond[i], a.insideP99[i])
				}
				return nil
			}, "--rate-limit", "none"); err != nil {
				return err
			}
		}
		for _, a := range asks {
			a.tell(&b.table)
		}
		return nil
	})
}

// compareLoad is one round. What the server answers must be what the statement returns.
func (b *bench) compareLoad(ctx context.Context, a *underLoad, c *client, db *sql.DB) error {
	items, err := texts(ctx, db, a.statement, a.args(0)...)
	if err != nil {
		return err
	}
	body, err := c.get(ctx, a.path(0))
	if err != nil {
		return err
	}
	if !holds(body, items[:min(len(items), pageRows)]) { // a page asks for one row more than it shows
		return fmt.Errorf("%s answers something else than the SQL", a.path(0))
	}
	var lines bytes.Buffer
	for i := range differentIDs {
		fmt.Fprintln(&lines, c.key, a.path(i))
	}
	speeds, err := inTurns(ctx, b.wrk(c.url, clients, lines.Bytes()), a.atOnce(db))
	a.perSecond, a.insidePerSecond = append(a.perSecond, speeds[0].perSecond), append(a.insidePerSecond, speeds[1].perSecond)
	a.p99, a.insideP99 = append(a.p99, speeds[0].p99), append(a.insideP99, speeds[1].p99)
	return err
}

// atOnce runs the statement from many goroutines, each on a connection of its own.
func (a *ask) atOnce(db *sql.DB) side {
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

// tell adds what was measured to the table.
func (a *underLoad) tell(t *table) {
	work := fmt.Sprintf("%s of %s, %d connections: ", a.name, thousands(loadRows), clients)
	against := fmt.Sprintf("the same SQL in the process, %d at once", clients)
	ratios := each(a.perSecond, a.insidePerSecond)
	t.add(row{work + "requests per second", against, fmt.Sprintf("≥ %g×", a.reachSpeed),
		fmt.Sprintf("%.0f/s against %.0f/s", a.perSecond.median(), a.insidePerSecond.median()),
		verdict(ratios.ratio(), ratios.median() >= a.reachSpeed)})
	ratios = each(a.p99, a.insideP99)
	t.add(row{work + "p99", against, fmt.Sprintf("≤ %g×", a.reachP99),
		fmt.Sprintf("%.1f ms against %.1f ms", a.p99.median(), a.insideP99.median()),
		verdict(ratios.ratio(), ratios.median() <= a.reachP99)})
}
