package admin

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/folder"
	"github.com/voicory/warehouse/ingest/postgres"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/ingest/voicory"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Kinds of source.
const (
	Postgres = "postgres"
	Voicory  = "voicory"
	Files    = "files"
)

// SourceSpec describes a source to pull from. It contains secrets, so it is sent to a running server over the
// operator's socket and nowhere else.
type SourceSpec struct {
	Kind    string        `json:"kind"`
	DSN     string        `json:"dsn"`       // postgres: connection string of the platform's database
	BaseURL string        `json:"base_url"`  // voicory: base URL of the API
	APIKey  string        `json:"api_key"`   // voicory: key of the tenant's account there
	Path    string        `json:"path"`      // files: folder
	Dataset string        `json:"dataset"`   // files: dataset of all files; "": from the file names
	Tenant  uuid.UUID     `json:"tenant_id"` // voicory, files: tenant of the rows; files, zero: from user_id of each row
	Details bool          `json:"details"`   // voicory: request each call for its stt_minutes and tts_characters
	Window  time.Duration `json:"window"`    // postgres, voicory: how far back a run reads rows again

	// postgres: share of the customers and keys that a run may delete because they are missing, in percent
	MaxDeleted schema.DeletionLimit `json:"max_deleted"`
}

// Open returns the source that the spec describes, or warehouse.ErrInvalid if the spec is invalid.
func (s SourceSpec) Open(
	w *warehouse.Warehouse, log *slog.Logger, progress func(done, total int64),
) (ingest.Source, error) {
	switch s.Kind {
	case Postgres:
		return s.openPostgres(w, log, progress)
	case Voicory:
		return voicory.New(voicory.Options{
			BaseURL: s.BaseURL, APIKey: s.APIKey, Tenant: s.Tenant, Details: s.Details, Window: s.Window, Log: log,
			Progress: func(p voicory.Progress) { progress(p.Rows, p.Total) },
		})
	case Files:
		return folder.New(folder.Options{Path: s.Path, Tenant: s.Tenant, Dataset: s.Dataset, Files: w, Log: log})
	}
	return nil, fmt.Errorf("%w: unknown kind of source %q; want %s, %s or %s",
		warehouse.ErrInvalid, s.Kind, Postgres, Voicory, Files)
}

// openPostgres returns a PostgreSQL source that imports API keys into w and finds deleted customers among those of w.
func (s SourceSpec) openPostgres(
	w *warehouse.Warehouse, log *slog.Logger, progress func(done, total int64),
) (source *postgres.Source, err error) {
	source, err = postgres.New(postgres.Options{DSN: s.DSN, Window: s.Window, Progress: progress, Log: log,
		MaxDeleted: s.MaxDeleted,
		Keys: func(ctx context.Context, keys []postgres.Key) error {
			imported := make([]control.ImportedKey, len(keys))
			for i, key := range keys {
				imported[i] = control.ImportedKey(key)
			}
			return w.ImportKeys(ctx, control.KeySource{
				Name: source.Name(), Former: source.FormerName(), Limit: s.MaxDeleted,
			}, imported)
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

// Synced is the outcome of a run of a source.
type Synced struct {
	ingest.Summary
	Missing []string `json:"missing"`                  // tables and columns that the source lacks
	Unread  []string `json:"unread_columns,omitempty"` // columns that the source has and that were not named before
	// Reasons has the number of refused rows by dataset and reason.
	Reasons map[string]int64 `json:"refused_reasons,omitempty"`
}

// Sync pulls new rows from a source once. If the rows are counted, it reports their numbers.
var Sync = longOperation("sync",
	func(ctx context.Context, l *Local, spec SourceSpec, report func(Progress)) (total Synced, err error) {
		source, err := spec.Open(l.Warehouse, slog.New(syncLog(spec, report)), func(done, total int64) {
			report(Progress{Done: done, Total: total})
		})
		if err != nil {
			return total, err
		}
		total.Summary, err = l.Sources.Pull(ctx, source, spec.Tenant)
		total.Reasons = total.Summary.Reasons
		total.Missing = []string{} // [] in JSON instead of null
		if source, ok := source.(*postgres.Source); ok {
			total.Missing, total.Unread = append(total.Missing, source.Missing()...), source.Unread()
		}
		return total, err
	})

// syncLog returns the handler of the log of a source, which reports each record as a line. It discards the log of
// PostgreSQL, because the outcome has the same information.
func syncLog(spec SourceSpec, report func(Progress)) slog.Handler {
	if spec.Kind == Postgres {
		return slog.DiscardHandler
	}
	return slog.NewTextHandler(reportWriter(report), &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})
}

// A reportWriter reports each line that is written to it.
type reportWriter func(Progress)

// Write reports a line.
func (w reportWriter) Write(line []byte) (int, error) {
	w(Progress{Text: strings.TrimSuffix(string(line), "\n")})
	return len(line), nil
}

// ListSources returns the scheduled sources, and then those that only a command has pulled from.
var ListSources = operation("sources/list", func(ctx context.Context, l *Local, _ None) ([]schedule.Status, error) {
	return l.Sources.Sources(ctx)
})
