package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/schollz/progressbar/v3"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type syncCommand struct {
	Postgres syncPostgresCommand `cmd:"" help:"Pull the rows and API keys of all tenants from the platform's PostgreSQL."`
	Voicory  syncVoicoryCommand  `cmd:"" help:"Pull the rows of one tenant from the Voicory API, within its rate limits."`
}

// syncFlags are the flags that all sources have.
type syncFlags struct {
	Window time.Duration `help:"How far back each run reads rows again, to find late changes (${default})." default:"72h" placeholder:"TIME"`
	Every  time.Duration `help:"Repeat, with this pause after each run; default: run once." placeholder:"TIME"`
}

type syncPostgresCommand struct {
	DSN        string               `name:"dsn" help:"postgres://USER:PASSWORD@HOST/DATABASE or host=… dbname=…; set VOICORY_DSN to keep it off the command line." required:"" placeholder:"DSN"`
	MaxDeleted schema.DeletionLimit `help:"Percentage of the customers and API keys that a run may delete because they are missing in the database (${default}); a run that misses more, and more than 10, deletes nothing and fails." default:"20" placeholder:"PERCENT"`
	syncFlags
}

// Run pulls from PostgreSQL.
func (c *syncPostgresCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return c.run(ctx, m, f, admin.SourceSpec{Kind: admin.Postgres, DSN: c.DSN, Window: c.Window, MaxDeleted: c.MaxDeleted})
}

type syncVoicoryCommand struct {
	BaseURL string    `name:"base-url" help:"Base URL of the API, such as https://HOST/api/v1." required:"" placeholder:"URL"`
	APIKey  string    `name:"api-key" help:"API key of the tenant there; set VOICORY_API_KEY to keep it off the command line." required:"" placeholder:"KEY"`
	Tenant  uuid.UUID `help:"Tenant of the rows." required:"" placeholder:"UUID"`
	Details bool      `help:"Also read stt_minutes and tts_characters, with one request per call."`
	syncFlags
}

// Run pulls from the Voicory API.
func (c *syncVoicoryCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return c.run(ctx, m, f, admin.SourceSpec{
		Kind: admin.Voicory, BaseURL: c.BaseURL, APIKey: c.APIKey, Tenant: c.Tenant, Details: c.Details, Window: c.Window,
	})
}

// syncSummary is the summary of a run.
type syncSummary struct {
	admin.Synced
	Published admin.Publication `json:"published"`
}

// run pulls once, or repeatedly if Every is set. A repeated pull prints the error of a failed run, and the next run
// resumes it; only warehouse.ErrInvalid and the end of ctx stop it.
func (c *syncFlags) run(ctx context.Context, m *Main, f *flags, spec admin.SourceSpec) error {
	for {
		err := f.withCreated(ctx, func(conn *admin.Conn) error {
			bar := newSyncProgress(m)
			var total syncSummary
			var err error
			total.Synced, err = admin.Sync.Watch(ctx, conn, spec, func(report admin.Progress) {
				if report.Text != "" {
					fmt.Fprintln(m.Stderr, "voicory:", printable(report.Text))
					return
				}
				bar.set(report)
			})
			bar.finish()
			var unmerged error
			if errors.Is(err, warehouse.ErrUnavailable) { // of some tenants; the others have their rows
				unmerged, err = err, nil
			}
			if err != nil {
				return err
			}
			if total.Published, err = m.publish(ctx, conn, total.Tenants); err != nil {
				return err
			}
			return errors.Join(m.printResult(f, total, total.text), unmerged)
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

func (total *syncSummary) text(w io.Writer) {
	fmt.Fprintf(w, "read %d rows: %d new, %d changed, %d unchanged, %d deleted, %d refused",
		total.Read, total.New, total.Changed, total.Unchanged, total.Deleted, total.Refused)
	if total.Superseded > 0 {
		fmt.Fprintf(w, ", %d superseded by a newer version", total.Superseded)
	}
	if total.Erased > 0 {
		fmt.Fprintf(w, ", %d kept out by an erasure or the retention", total.Erased)
	}
	fmt.Fprintln(w)
	if len(total.Missing) > 0 {
		fmt.Fprintf(w, "the source lacks %s\n", strings.Join(total.Missing, ", "))
	}
	if len(total.Unread) > 0 {
		fmt.Fprintf(w, "columns that are not read: %s\n", printable(strings.Join(total.Unread, ", ")))
	}
	fmt.Fprintf(w, "published %d files, %d rows\n", total.Published.Files, total.Published.Rows)
	printReasons(w, total.Reasons)
	warnDropped(w, total.Counts)
	printUnknown(w, total.Unknown)
	printNotes(w, total.Notes)
}

// printReasons prints the reasons of refusals with their numbers of rows, the most frequent first.
func printReasons(w io.Writer, reasons map[string]int64) {
	if len(reasons) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b], reasons[a]), strings.Compare(a, b))
	})
	for _, name := range names {
		fmt.Fprintf(w, "  refused %d of %s\n", reasons[name], printable(name))
	}
	fmt.Fprintln(w, "  `voicory quarantine list` shows the rows")
}

// syncProgress is a progress bar that counts rows and shows the remaining time. It prints nothing if standard error is
// not a terminal.
type syncProgress struct{ bar *progressbar.ProgressBar }

func newSyncProgress(m *Main) *syncProgress {
	if !isTerminal(m.Stderr) {
		return &syncProgress{}
	}
	return &syncProgress{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(m.Stderr), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("rows"), progressbar.OptionSetDescription("sync"),
		progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

func (p *syncProgress) set(report admin.Progress) {
	if p.bar != nil {
		if report.Total > 0 {
			p.bar.ChangeMax64(max(report.Total, report.Done))
		}
		_ = p.bar.Set64(report.Done) // a failure to draw the bar is ignored
	}
}

func (p *syncProgress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
