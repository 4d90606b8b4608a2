package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

const connectTimeout = 30 * time.Second // unless the DSN says otherwise

// Options say where the platform's database is, and who wants what of it.
type Options struct {
	DSN    string        // postgres://… or host=… dbname=…; what it leaves out is taken from the PG… variables of the environment
	Window time.Duration // how far back each pass reads again
	// Keys takes the platform's API keys, all of them, once in each pass and before its rows: one that it does not get any more was
	// deleted there. It is not called where they cannot be read. May be nil.
	Keys func(context.Context, []Key) error
	// Known lists customers that the warehouse has, in the order of Customer.Compare: up to limit of those that come after after; none
	// is the end. It is asked between portions, never during one. Those that the database has no more are handed out as deleted. May be
	// nil: none are.
	Known func(ctx context.Context, after Customer, limit int) ([]Customer, error)
	// Progress is told how many rows of about how many (0: not known) were read. May be nil.
	Progress func(done, total int64)
	Log      *slog.Logger // nil: slog.Default()
}

// Source is the platform's database. Its passes run one at a time.
type Source struct {
	options Options // without the DSN
	config  *pgx.ConnConfig
	missing []string
}

var _ ingest.Source = (*Source)(nil)

// New checks the options; it does not connect yet. A DSN that is none is warehouse.ErrInvalid, and is not repeated: it holds a password.
func New(o Options) (*Source, error) {
	config, err := pgx.ParseConfig(o.DSN)
	if err != nil {
		return nil, fmt.Errorf("%w: the DSN is no PostgreSQL connection string; write postgres://USER:PASSWORD@HOST:PORT/DATABASE or host=… port=… user=… password=… dbname=…", warehouse.ErrInvalid)
	}
	if o.Window < 0 {
		return nil, fmt.Errorf("%w: a window of %v", warehouse.ErrInvalid, o.Window)
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
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // leaves nothing behind in a connection that a pool shares out
	o.DSN = ""
	return &Source{options: o, config: config}, nil
}

// Name is the kind of source and where the database is; it holds neither user nor password.
func (s *Source) Name() string {
	return "postgres " + net.JoinHostPort(s.config.Host, strconv.Itoa(int(s.config.Port))) + "/" + s.config.Database
}

// Missing names the tables and columns that the database lacked in the last pass: "call_costs", "call_logs.summary". Each may be
// followed by why, in brackets.
func (s *Source) Missing() []string { return slices.Clone(s.missing) }

// state is what a pass leaves to the next.
type state struct {
	Since   time.Time `json:"since"`             // when its snapshot was taken, by the database's clock
	Missing []string  `json:"missing,omitempty"` // what the database lacked
}

// Pull makes one pass: see the package's comment. Errors are ErrUnavailable, ErrUnusable, warehouse.ErrInvalid for a state that is
// none, the context's, and those of take and of the options' functions.
func (s *Source) Pull(ctx context.Context, last json.RawMessage, take func(context.Context, ingest.Portion) error) error {
	var before state
	if last != nil {
		if err := json.Unmarshal(last, &before); err != nil || before.Since.IsZero() {
			return fmt.Errorf("%w: the state of %s cannot be read: %q", warehouse.ErrInvalid, s.Name(), last)
		}
	}
	doing := fmt.Sprintf("connect to %s as %s", s.Name(), s.config.User)
	conn, err := pgx.ConnectConfig(ctx, s.config)
	if err != nil {
		return explain(ctx, doing, err)
	}
	defer disconnect(conn)
	p := &pass{Source: s, take: take}
	if p.tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return explain(ctx, doing, err)
	}
	since, err := p.look(ctx, before)
	if err != nil {
		return err
	}
	return p.run(ctx, since)
}

// disconnect ends the connection, and the transaction with it: there is nothing to commit. After an error the driver may have begun
// that itself, in the background.
func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // what was taken is durable whatever becomes of the connection
	select {
	case <-conn.PgConn().CleanupDone():
	case <-ctx.Done(): // the server is out of reach, and the driver gives up on its own
	}
}
