package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const connectTimeout = 30 * time.Second // default, if the DSN sets no connect_timeout

// Options configure a Source.
type Options struct {
	DSN    string        // postgres://… or host=… dbname=…; the PG… environment variables supply omitted parts
	Window time.Duration // time before the last pull that is read again
	// Keys is called once per pull, before any rows, with all API keys of the platform. A key that is missing was deleted
	// there. It is not called if the keys cannot be read. It may be nil.
	Keys func(context.Context, []Key) error
	// Known returns at most limit customers of the warehouse that follow after, in the order of Customer.Compare,
	// including those that were deleted because an earlier pull did not find them. An empty result is the end. It is
	// called between portions, never while one is read. Customers that are missing in the database are emitted as
	// deleted, and deleted ones that are there are read again. If Known is nil, no customers are emitted as deleted.
	Known func(ctx context.Context, after Customer, limit int) ([]Customer, error)
	// MaxDeleted is the share of the known customers that a pull may emit as deleted. If more are missing, Pull returns
	// schema.ErrTooManyDeletions before it calls Keys or emits any row.
	MaxDeleted schema.DeletionLimit
	// Progress is called with the number of rows read and an estimate of the total (0: unknown). It may be nil.
	Progress func(done, total int64)
	Log      *slog.Logger // nil: slog.Default()
}

// A Source reads the platform's database. It must not run two pulls at the same time.
type Source struct {
	options Options // without the DSN
	config  *pgx.ConnConfig
	secrets []string // texts that must not be shown
	missing []string // see Missing
	unread  []string // see Unread
}

var _ ingest.Source = (*Source)(nil)

// New returns a Source. It does not connect. It returns warehouse.ErrInvalid if an option is invalid. The error never
// contains the DSN, because that may hold a password.
func New(o Options) (*Source, error) {
	config, err := parseDSN(o.DSN)
	if err != nil {
		return nil, err
	}
	if o.Window < 0 {
		return nil, fmt.Errorf("%w: the window %v is negative", warehouse.ErrInvalid, o.Window)
	}
	if err := o.MaxDeleted.Validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTimeout
	}
	if _, ok := config.RuntimeParams["application_name"]; !ok {
		config.RuntimeParams["application_name"] = "voicory"
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // no prepared statements, which connection poolers do not support
	o.DSN = ""
	return &Source{options: o, config: config, secrets: secretsOf(config)}, nil
}

// Name returns the identity of the source: the addresses, the database, the user, and settings that select rows. It
// never contains a secret.
func (s *Source) Name() string { return sourceName(s.config) }

// FormerName returns the name that the source had in earlier versions. Keys that earlier versions have imported are
// recorded with this name.
func (s *Source) FormerName() string { return formerName(s.config) }

// Missing returns the tables and columns that were missing in the last pull, such as "call_costs" and
// "call_logs.summary". A reason in brackets may follow each name.
func (s *Source) Missing() []string { return slices.Clone(s.missing) }

// Unread returns the columns of the platform's tables that the last pull did not read and that no pull before it has
// found, such as "call_logs.language".
func (s *Source) Unread() []string { return slices.Clone(s.unread) }

// A state is stored after a pull and passed to the next one.
type state struct {
	Since   time.Time `json:"since"`             // time of the snapshot, by the database's clock
	Missing []string  `json:"missing,omitempty"` // missing tables and columns
	Unread  []string  `json:"unread,omitempty"`  // columns that are there and not read
	Read    []string  `json:"read,omitempty"`    // tables of datasets that were read
	// Relations has the object id of each table that was read, and of the database under an empty name. If one of them is
	// another one now, by a search path of the server or because the database was replaced, all rows are read again.
	Relations map[string]uint32 `json:"relations,omitempty"`
	// Configs has the tenant of each WhatsApp number, by the number's id. The messages of a number that was given to
	// another tenant are all read again. The map has as many entries as the table.
	Configs map[string]string `json:"configs,omitempty"`
}

// Pull reads the rows that are new or changed since the state of the last pull, and calls take with one portion per
// dataset and with portions of deleted customers. The last portion contains the new state. It returns ErrUnavailable,
// ErrUnusable, warehouse.ErrInvalid for an invalid state, the error of ctx, and errors of take and of the functions in
// Options.
func (s *Source) Pull(
	ctx context.Context, last json.RawMessage, take func(context.Context, ingest.Portion) error,
) error {
	var previous state
	if last != nil {
		if err := json.Unmarshal(last, &previous); err != nil || previous.Since.IsZero() {
			return fmt.Errorf("%w: parse the state of %s: %q", warehouse.ErrInvalid, s.Name(), last)
		}
	}
	action := "connect to " + s.Name()
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return s.explainError(ctx, action, err)
	}
	defer disconnect(conn)
	run := &syncRun{Source: s, take: take}
	if run.tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return s.explainError(ctx, action, err)
	}
	since, err := run.prepare(ctx, previous)
	if err != nil {
		return err
	}
	return run.readAll(ctx, previous, since)
}

// disconnect closes the connection and thereby ends the transaction, which has nothing to commit. It waits up to a
// second for the driver, which closes a broken connection in the background.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // an error does not matter, because stored portions are durable
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done(): // the server is unreachable, and the driver gives up later
	}
}
