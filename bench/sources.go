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
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/ingest/voicory"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	tenants         = 200
	changedEach     = 5 // rows of each tenant and table in an increment
	targetCopy      = 0.3
	targetParquet   = 0.6 // a child process reads the file, and its rows become text on the way
	targetIncrement = 5.0 // seconds
	targetPull      = 0.6
	targetPeer      = 10.0
)

// formats measures the ingest of the same calls as NDJSON, CSV and Parquet.
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
		if _, err := db.ExecContext(ctx,
			"COPY (FROM read_json("+statements.Text(ndjson)+")) TO "+statements.Text(file)); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return err
	}
	took := make([]sample, len(files))
	order := []int{0, 2, 1} // reversed each round, because the machine's speed drifts; the pair with a target is adjacent
	for i := range b.rounds {
		for _, j := range order {
			data, file := filepath.Join(b.dir, "formats"), files[j]
			f, summary, err := b.voicoryIngest(ctx, data, file)
			if err != nil {
				return err
			}
			if summary.New != int64(b.rows) {
				return fmt.Errorf("%s: got %d new rows, want %d", file, summary.New, b.rows)
			}
			took[j] = append(took[j], f.took.Seconds())
			if err := os.RemoveAll(data); err != nil {
				return err
			}
		}
		slices.Reverse(order)
		logf("round %d: NDJSON %.1f s, CSV %.1f s, Parquet %.1f s", i+1, took[0][i], took[1][i], took[2][i])
	}
	perSecond := func(s sample) string { return thousands(int(float64(b.rows) / s.median())) }
	for j, name := range []string{"CSV", "Parquet"} {
		ratios := ratioOfEach(took[0], took[j+1]) // of rates
		reach, shown := "–", ratios.ratio()
		if name == "Parquet" {
			reach, shown = fmt.Sprintf("≥ %g×", targetParquet), result(ratios.ratio(), ratios.median() >= targetParquet)
		}
		b.table.add(row{fmt.Sprintf("ingest of %s calls from %s", thousands(b.rows), name), "the same from NDJSON", reach,
			fmt.Sprintf("%s against %s rows/s", perSecond(took[j+1]), perSecond(took[0])), shown})
	}
	return errors.Join(os.Remove(files[1]), os.Remove(files[2]))
}

// postgres measures a full pull from the platform's database and an incremental pull, against psql discarding the same
// rows and, if it can be installed, against dlt.
func (b *bench) postgres(ctx context.Context) (err error) {
	database, err := platform.Start(ctx)
	if errors.Is(err, platform.ErrNotInstalled) {
		logf("%v: skip the section postgres", err)
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
	logf("generating a PostgreSQL of %s calls and %s messages", thousands(size.Calls), thousands(size.Messages))
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
			return fmt.Errorf("first pull: got %d new rows, want %d", first.Counts.New, rows)
		}
		psql, err := run(ctx, "psql", "--quiet", "--no-psqlrc", dsn, "-c", `\copy call_logs to /dev/null`, "-c",
			`\copy whatsapp_messages to /dev/null`, "-c", `\copy customers to /dev/null`)
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, updateNewestRows, fmt.Sprintf("round %d", i), changedEach); err != nil {
			return err
		}
		later, second, err := b.pull(ctx, data, dsn, "")
		if err != nil {
			return err
		}
		if changed = second.Counts.Changed; changed == 0 ||
			second.Counts.New != 0 { // a tenant with few messages may have none in the window
			return fmt.Errorf("the increment changed %d rows, and %d are new", changed, second.Counts.New)
		}
		logf("round %d: first pass %.1f s (published in %.1f s), psql %.1f s, increment %.1f s (published in %.1f s)", i+1,
			first.Pulled, first.Publish, psql.took.Seconds(), second.Pulled, second.Publish)
		ours, copied, increments = append(ours,
			first.Pulled), append(copied, psql.took.Seconds()), append(increments, second.Pulled)
		published, laterPublished = append(published, first.Publish), append(laterPublished, second.Publish)
		peaks, laterPeaks = append(peaks, process.peak), append(laterPeaks, later.peak)
		if err := os.RemoveAll(data); err != nil {
			return err
		}
	}
	ratios := ratioOfEach(copied, ours) // of rates
	b.table.add(row{fmt.Sprintf("PostgreSQL to warehouse: %s calls, %s messages, %s customers of %d tenants",
		thousands(size.Calls), thousands(size.Messages), thousands(size.Customers), tenants),
		`psql \copy of the same tables to /dev/null`, fmt.Sprintf("≥ %g×", targetCopy),
		fmt.Sprintf("%.1f s against %.1f s, %s rows/s; publishing %.1f s more; peak %.0f MiB", ours.median(),
			copied.median(), thousands(int(float64(rows)/ours.median())), published.median(), peaks.median()),
		result(ratios.ratio(), ratios.median() >= targetCopy)})
	b.table.add(row{fmt.Sprintf("an increment of %d rows of each table for each of these tenants", changedEach), "–",
		fmt.Sprintf("≤ %g s", targetIncrement),
		fmt.Sprintf("%.1f s, %s rows changed; publishing %.1f s more; peak %.0f MiB", increments.median(),
			thousands(int(changed)), laterPublished.median(), laterPeaks.median()),
		result(fmt.Sprintf("%.1f s", increments.median()), increments.median() <= targetIncrement)})
	return b.compareDLT(ctx, dsn, ours)
}

// updateNewestRows updates the newest rows of each tenant, as the platform does.
//
//go:embed update_newest_rows.sql
var updateNewestRows string

// pullCommand is the hidden command with which this program pulls from a source, to measure pulling and publishing
// separately. A server does both at the same time.
const pullCommand = "pull-alone"

// A pullResult is the output of pullCommand.
type pullResult struct {
	Counts          schema.Counts
	Pulled, Publish float64 // seconds since the folder was opened
}

// pull runs pullCommand for PostgreSQL, if key is empty and address is a DSN, or for an API.
func (b *bench) pull(ctx context.Context, data, address, key string) (f processResult, p pullResult, err error) {
	self, err := os.Executable()
	if err != nil {
		return f, p, err
	}
	if f, err = run(ctx, self, pullCommand, address, key, data); err != nil {
		return f, p, err
	}
	return f, p, json.Unmarshal(f.out, &p)
}

// runPull is the body of pullCommand.
func runPull(ctx context.Context, address, key, data string) (err error) {
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
	summary, err := schedule.New(w).Pull(ctx, source, tenant)
	if err != nil {
		return err
	}
	p := pullResult{Counts: summary.Counts, Pulled: time.Since(start).Seconds()}
	start = time.Now()
	if _, err := w.Publish(ctx); err != nil {
		return err
	}
	p.Publish = time.Since(start).Seconds()
	return json.NewEncoder(os.Stdout).Encode(p)
}

//go:embed peers/dlt.py
var dltScript string

// compareDLT measures how long dlt takes to load the same tables into DuckDB. It runs once per backend, because it is
// slow: with the backend of dlt's tutorial, and with its fastest backend.
func (b *bench) compareDLT(ctx context.Context, dsn string, ours sample) error {
	venv := filepath.Join(b.dir, "dlt")
	for _, command := range []*exec.Cmd{exec.CommandContext(ctx, "python3", "-m", "venv", venv),
		exec.CommandContext(ctx, filepath.Join(venv, "bin", "pip"), "--quiet", "install", "dlt[duckdb]", "pyarrow", "numpy",
			"sqlalchemy", "psycopg2-binary")} {
		if out, err := command.CombinedOutput(); err != nil {
			logf("skip dlt, because it cannot be installed: %v %.200s", err, out)
			return ctx.Err()
		}
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return err
	}
	for _, backend := range []string{"sqlalchemy", "pyarrow"} {
		file := filepath.Join(b.dir, "dlt.duckdb")
		f, err := run(ctx, filepath.Join(venv, "bin", "python"), "-c", dltScript,
			fmt.Sprintf("postgresql+psycopg2://%s@/%s?host=%s", config.User, config.Database, config.Host), file, backend)
		if err != nil {
			return err
		}
		factor := f.took.Seconds() / ours.median()
		name, reach, shown := "dlt with its backend "+backend, "–", fmt.Sprintf("%.1f×", factor)
		if backend == "sqlalchemy" {
			name, reach, shown = "dlt with its default backend ("+backend+
				")", fmt.Sprintf("≥ %g× faster", targetPeer), result(shown, factor >= targetPeer)
		}
		b.table.add(row{"the same tables", name + ", into one DuckDB file, without Parquet, once", reach,
			fmt.Sprintf("%.1f s against %.1f s; dlt's peak %.0f MiB", ours.median(), f.took.Seconds(), f.peak), shown})
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return os.RemoveAll(venv)
}

// upstream measures a pull from an API without rate limits, served by this program, against a client that follows the
// cursors and discards the pages.
func (b *bench) upstream(ctx context.Context) error {
	const share = 5 // divisor of the number of rows, because pages of 100 rows are slow
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
				return fmt.Errorf("got %d new rows, want %d", p.Counts.New, n)
			}
			start := time.Now()
			if err := s.readPages(ctx, n); err != nil {
				return err
			}
			ours, published, bare = append(ours,
				p.Pulled), append(published, p.Publish), append(bare, time.Since(start).Seconds())
			logf("round %d: pull %.1f s (published in %.1f s), bare client %.1f s", i+1, ours[i], published[i], bare[i])
			if err := os.RemoveAll(data); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	ratios := ratioOfEach(bare, ours) // of rates
	b.table.add(row{fmt.Sprintf("pull of %s calls from the documented API without limits", thousands(n)),
		"a client that follows the cursors and discards the pages", fmt.Sprintf("≥ %g×", targetPull),
		fmt.Sprintf("%.1f s against %.1f s, %s rows/s; publishing %.1f s more", ours.median(), bare.median(),
			thousands(int(float64(n)/ours.median())), published.median()),
		result(ratios.ratio(), ratios.median() >= targetPull)})
	return nil
}
