package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/warehouse"
)

type syncCommand struct {
	Postgres syncPostgresCommand `cmd:"" help:"Pull all tenants' rows, and their API keys, from the platform's PostgreSQL."`
}

// syncFlags are those of every source.
type syncFlags struct {
	Window time.Duration `help:"How far back each run reads again what it has read, for what is written late (${default})." default:"72h" placeholder:"TIME"`
	Every  time.Duration `help:"Run again and again, this long after the run before." placeholder:"TIME"`
}

type syncPostgresCommand struct {
	DSN string `name:"dsn" help:"postgres://USER:PASSWORD@HOST/DATABASE or host=… dbname=…; better given as VOICORY_DSN." required:"" placeholder:"DSN"`
	syncFlags
}

// syncSpec says what to pull from where. It travels to a running server over the operator's socket, and no further: it holds secrets.
type syncSpec struct {
	DSN    string        `json:"dsn"` // of the platform's PostgreSQL
	Window time.Duration `json:"window"`
}

// synced is the summary of a run.
type synced struct {
	ingest.Summary
	Missing   []string            `json:"missing"` // tables and columns that the source lacks
	Published warehouse.Published `json:"published"`
}

// Run pulls from PostgreSQL.
func (c *syncPostgresCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return c.run(ctx, m, f, syncSpec{DSN: c.DSN, Window: c.Window})
}

// run pulls once, or again and again; then an error of the source is told, and the next run goes on where this one was.
func (c *syncFlags) run(ctx context.Context, m *Main, f *flags, spec syncSpec) error {
	for {
		err := f.withOperator(ctx, func(o operator) error {
			bar := newSyncProgress(m)
			total, err := o.Sync(ctx, spec, bar.set)
			bar.finish()
			if err != nil {
				return err
			}
			if total.Published, err = o.Publish(ctx); err != nil {
				return err
			}
			return m.print(f, total, total.text)
		})
		if c.Every == 0 || ctx.Err() != nil || errors.Is(err, warehouse.ErrInvalid) {
			return err
		}
		if err != nil {
			fmt.Fprintln(m.Stderr, "voicory:", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(c.Every):
		}
	}
}

// Sync pulls from a source here.
func (l local) Sync(ctx context.Context, spec syncSpec, progress func(done, total int64)) (synced, error) {
	source, err := spec.source(l.Warehouse, progress)
	if err != nil {
		return synced{}, err
	}
	total := synced{}
	total.Summary, err = ingest.Pull(ctx, l.Warehouse, source, uuid.Nil)
	total.Missing = append([]string{}, source.Missing()...) // a list in JSON, too
	return total, err
}

// source is what the spec says, with what it needs of the warehouse.
func (s syncSpec) source(w *warehouse.Warehouse, progress func(done, total int64)) (source *postgres.Source, err error) {
	source, err = postgres.New(postgres.Options{DSN: s.DSN, Window: s.Window, Progress: progress,
		Log: slog.New(slog.DiscardHandler), // the summary says what there is to say
		Keys: func(ctx context.Context, keys []postgres.Key) error {
			taken := make([]warehouse.TakenKey, len(keys))
			for i, key := range keys {
				taken[i] = warehouse.TakenKey(key)
			}
			return w.TakeKeys(ctx, source.Name(), taken)
		},
		Known: func(ctx context.Context, after postgres.Customer, limit int) ([]postgres.Customer, error) {
			known, err := w.CustomersAfter(ctx, warehouse.Customer(after), limit)
			customers := make([]postgres.Customer, len(known))
			for i, customer := range known {
				customers[i] = postgres.Customer(customer)
			}
			return customers, err
		}})
	return source, err
}

func (total *synced) text(w io.Writer) {
	fmt.Fprintf(w, "read %d rows: %d new, %d changed, %d unchanged, %d deleted, %d refused\n", total.Read, total.New, total.Changed, total.Unchanged, total.Deleted, total.Refused)
	if len(total.Missing) > 0 {
		fmt.Fprintf(w, "the source lacks %s\n", strings.Join(total.Missing, ", "))
	}
	fmt.Fprintf(w, "published %d files, %d rows\n", total.Published.Files, total.Published.Rows)
	printRefusals(w, total.Refusals)
}

// syncProgress is a bar over the rows of a source, with the time that is left, on a terminal; elsewhere it is silent.
type syncProgress struct{ bar *progressbar.ProgressBar }

func newSyncProgress(m *Main) *syncProgress {
	if !isTerminal(m.Stderr) {
		return &syncProgress{}
	}
	return &syncProgress{progressbar.NewOptions64(-1, progressbar.OptionSetWriter(m.Stderr), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("rows"), progressbar.OptionSetDescription("sync"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

func (p *syncProgress) set(done, total int64) {
	if p.bar != nil {
		if total > 0 {
			p.bar.ChangeMax64(max(total, done))
		}
		_ = p.bar.Set64(done) // a bar that cannot be drawn is not worth an error
	}
}

func (p *syncProgress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
