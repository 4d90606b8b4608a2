package main

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/postgres/platform"
	"github.com/voicory/warehouse/ingest/voicory"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

const (
	tenants        = 200
	changedEach    = 5 // rows of each tenant and table in an increment
	reachCopy      = 0.3
	reachParquet   = 0.6 // a child process reads the file, and its rows become text on the way
	reachIncrement = 5.0 // seconds
	reachPull      = 0.6
	reachPeer      = 10.0
)

// formats measures the same calls as NDJSON, CSV and Parquet.
func (b *bench) formats(ctx context.Context) error {
	ndjson, err := b.calls(b.rows)
	if err != nil {
		return err
	}
	files := []string{ndjson}
	for _, format := range []string{"csv", "parquet"} {
		files = append(files, filepath.Join(b.dir, "calls."+format))
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	for _, file := range files[1:] {
		if _, err := db.ExecContext(ctx, "COPY (FROM read_json("+statements.Text(ndjson)+")) TO "+statements.Text(file)); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	took := make([]sample, len(files))
	order := []int{0, 2, 1} // in turns from its other end: the machine's speed drifts, and those with a reach to compare are neighbours
	for i := range b.rounds {
		for _, j := range order {
			data, file := filepath.Join(b.dir, "formats"), files[j]
			f, summary, err := b.voicoryIngest(ctx, data, file)
			if err != nil {
				return err
			}
			if summary.New != int64(b.rows) {
				return fmt.Errorf("%s: %d new rows, not %d", file, summary.New, b.rows)
			}
			took[j] = append(took[j], f.took.Seconds())
			if err := os.RemoveAll(data); err != nil {
				return err
			}
		}
		slices.Reverse(order)
		note("round %d: NDJSON %.1f s, CSV %.1f s, Parquet %.1f s", i+1, took[0][i], took[1][i], took[2][i])
	}
	perSecond := func(s sample) string { return thousands(int(float64(b.rows) / s.median())) }
	for j, name := range []string{"CSV", "Parquet"} {
		ratios := each(took[0], took[j+1]) // of rates
		reach, shown := "–", ratios.ratio()
		if name == "Parquet" {
			reach, shown = fmt.Sprintf("≥ %g×", reachParquet), verdict(ratios.ratio(), ratios.median() >= reachParquet)
		}
		b.table.add(row{fmt.Sprintf("ingest of %s calls from %s", thousands(b.rows), name), "the same from NDJSON", reach,
			fmt.Sprintf("%s against %s rows/s", perSecond(took[j+1]), perSecond(took[0])), shown})
	}
	return errors.Join(os.Remove(files[1]), os.Remove(files[2]))
}

// postgres measures a first pass over the platform's database, and an increment, against psql throwing the same rows away; and, where it is
// there, against dlt.
func (b *bench) postgres(ctx context.Context) (err error) {
	database, err := platform.Start(ctx)
	if errors.Is(err, platform.ErrNotInstalled) {
		note("%v: the section postgres is left out", err)
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, database.Stop()) }()
	dsn := database.DSN("postgres")
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	size := platform.Size{Tenants: tenants, Calls: b.rows, Messages: 2 * b.rows, Customers: b.rows / 5, End: time.Now()}
	note("inventing a PostgreSQL of %s calls and %s messages", thousands(size.Calls), thousands(size.Messages))
	for _, statement := range []string{platform.Schema, size.Fill(), "VACUUM ANALYZE"} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	rows := size.Calls + size.Messages + size.Customers
	var ours, copied, published, increments, laterPublished, peaks, laterPeaks sample
	var changed int64
	for i := range b.rounds {
		data := filepath.Join(b.dir, "pulled")
		process, first, err := b.pull(ctx, data, dsn, "")
		if err != nil {
			return err
		}
		if first.Counts.New != int64(rows) {
			return fmt.Errorf("the first pass took %d new rows in, not %d", first.Counts.New, rows)
		}
		psql, err := run(ctx, "psql", "--quiet", "--no-psqlrc", dsn, "-c", `\copy call_logs to /dev/null`, "-c", `\copy whatsapp_messages to /dev/null`, "-c", `\copy customers to /dev/null`)
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, touch, fmt.Sprintf("round %d", i), changedEach); err != nil {
			return err
		}
		later, second, err := b.pull(ctx, data, dsn, "")
		if err != nil {
			return err
		}
		if changed = second.Counts.Changed; changed == 0 || second.Counts.New != 0 { // of few messages, the newest may lie before the window
			return fmt.Errorf("the increment changed %d rows, and %d are new", changed, second.Counts.New)
		}
		note("round %d: first pass %.1f s (published in %.1f s), psql %.1f s, increment %.1f s (published in %.1f s)", i+1, first.Pulled, first.Publish, psql.took.Seconds(), second.Pulled, second.Publish)
		ours, copied, increments = append(ours, first.Pulled), append(copied, psql.took.Seconds()), append(increments, second.Pulled)
		published, laterPublished = append(published, first.Publish), append(laterPublished, second.Publish)
		peaks, laterPeaks = append(peaks, process.peak), append(laterPeaks, later.peak)
		if err := os.RemoveAll(data); err != nil {
			return err
		}
	}
	ratios := each(copied, ours) // of rates
	b.table.add(row{fmt.Sprintf("PostgreSQL to warehouse: %s calls, %s messages, %s customers of %d tenants", thousands(size.Calls), thousands(size.Messages), thousands(size.Customers), tenants),
		`psql \copy of the same tables to /dev/null`, fmt.Sprintf("≥ %g×", reachCopy),
		fmt.Sprintf("%.1f s against %.1f s, %s rows/s; the lake %.1f s more; peak %.0f MiB", ours.median(), copied.median(), thousands(int(float64(rows)/ours.median())), published.median(), peaks.median()),
		verdict(ratios.ratio(), ratios.median() >= reachCopy)})
	b.table.add(row{fmt.Sprintf("an increment of %d rows of each table for each of these tenants", changedEach), "–", fmt.Sprintf("≤ %g s", reachIncrement),
		fmt.Sprintf("%.1f s, %s rows changed; the lake %.1f s more; peak %.0f MiB", increments.median(), thousands(int(changed)), laterPublished.median(), laterPeaks.median()),
		verdict(fmt.Sprintf("%.1f s", increments.median()), increments.median() <= reachIncrement)})
	return b.dlt(ctx, dsn, ours)
}

// touch writes into the newest rows of each tenant, as the platform does.
//
//go:embed touch.sql
var touch string

// pullAlone is the hidden command with which this program pulls from a source, so that pulling and publishing, which a server does
// meanwhile, are timed apart.
const pullAlone = "pull-alone"

// pulled is what it prints.
type pulled struct {
	Counts          warehouse.Counts
	Pulled, Publish float64 // seconds, from opening the folder on
}

// pull pulls from PostgreSQL, whose address is a DSN, or with a key from an API.
func (b *bench) pull(ctx context.Context, data, address, key string) (f finished, p pulled, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, p, err
	}
	if f, err = run(ctx, self, pullAlone, address, key, data); err != nil {
		return f, p, err
	}
	return f, p, json.Unmarshal(f.out, &p)
}

func pullOnly(ctx context.Context, address, key, data string) (err error) {
	start := time.Now()
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	const window = 72 * time.Hour
	log := slog.New(slog.DiscardHandler)
	var source ingest.Source
	tenant := uuid.Nil
	if key == "" {
		source, err = postgres.New(postgres.Options{DSN: address, Window: window, Log: log})
	} else {
		tenant = tenantID
		source, err = voicory.New(voicory.Options{BaseURL: address, APIKey: key, Tenant: tenant, Window: window, Log: log})
	}
	if err != nil {
		return err
	}
	summary, err := ingest.NewRunner(w).Pull(ctx, source, tenant)
	if err != nil {
		return err
	}
	p := pulled{Counts: summary.Counts, Pulled: time.Since(start).Seconds()}
	start = time.Now()
	if _, err := w.Publish(ctx); err != nil {
		return err
	}
	p.Publish = time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(p)
}

//go:embed peers/dlt.py
var dltScript string

// dlt has dlt load the same tables into a DuckDB, once each way, since it takes long: as its documentation begins, and with its quickest backend.
func (b *bench) dlt(ctx context.Context, dsn string, ours sample) error {
	venv := filepath.Join(b.dir, "dlt")
	for _, command := range []*exec.Cmd{exec.CommandContext(ctx, "python3", "-m", "venv", venv),
		exec.CommandContext(ctx, filepath.Join(venv, "bin", "pip"), "--quiet", "install", "dlt[duckdb]", "pyarrow", "numpy", "sqlalchemy", "psycopg2-binary")} {
		if out, err := command.CombinedOutput(); err != nil {
			note("dlt cannot be installed, and is left out: %v %.200s", err, out)
			return ctx.Err()
		}
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	for _, backend := range []string{"sqlalchemy", "pyarrow"} {
		file := filepath.Join(b.dir, "dlt.duckdb")
		f, err := run(ctx, filepath.Join(venv, "bin", "python"), "-c", dltScript, fmt.Sprintf("postgresql+psycopg2://%s@/%s?host=%s", config.User, config.Database, config.Host), file, backend)
		if err != nil {
			return err
		}
		factor := f.took.Seconds() / ours.median()
		name, reach, shown := "dlt with its backend "+backend, "–", fmt.Sprintf("%.1f×", factor)
		if backend == "sqlalchemy" {
			name, reach, shown = "dlt as it comes (its backend "+backend+")", fmt.Sprintf("≥ %g× faster", reachPeer), verdict(shown, factor >= reachPeer)
		}
		b.table.add(row{"the same tables", name + ", into one DuckDB file, without Parquet, once", reach,
			fmt.Sprintf("%.1f s against %.1f s; dlt's peak %.0f MiB", ours.median(), f.took.Seconds(), f.peak), shown})
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return os.RemoveAll(venv)
}

// upstream measures a pull from an API without limits, which is this program's own, against a client that follows its links and throws the pages away.
func (b *bench) upstream(ctx context.Context) error {
	const share = 5 // of the rows of a load: pages of 100 take their time
	n := b.rows / share
	file, err := b.calls(n)
	if err != nil {
		return err
	}
	there := filepath.Join(b.dir, "upstream")
	if _, _, err := b.voicoryIngest(ctx, there, file); err != nil {
		return err
	}
	var ours, bare, published sample
	err = serving(ctx, there, func(s *server) error {
		for i := range b.rounds {
			data := filepath.Join(b.dir, "pulled")
			_, p, err := b.pull(ctx, data, s.url+"/api/v1", s.key)
			if err != nil {
				return err
			}
			if p.Counts.New != int64(n) {
				return fmt.Errorf("%d new rows, not %d", p.Counts.New, n)
			}
			start := time.Now()
			if err := s.readPages(ctx, n); err != nil {
				return err
			}
			ours, published, bare = append(ours, p.Pulled), append(published, p.Publish), append(bare, time.Since(start).Seconds())
			note("round %d: pull %.1f s (published in %.1f s), bare client %.1f s", i+1, ours[i], published[i], bare[i])
			if err := os.RemoveAll(data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ratios := each(bare, ours) // of rates
	b.table.add(row{fmt.Sprintf("pull of %s calls from the documented API without limits", thousands(n)), "a client that follows the links and throws the pages away", fmt.Sprintf("≥ %g×", reachPull),
		fmt.Sprintf("%.1f s against %.1f s, %s rows/s; the lake %.1f s more", ours.median(), bare.median(), thousands(int(float64(n)/ours.median())), published.median()), verdict(ratios.ratio(), ratios.median() >= reachPull)})
	return nil
}
