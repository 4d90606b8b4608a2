package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Kinds of error. Anything else is a bug, or warehouse.ErrInvalid for a DSN or a state that is none.
var (
	// ErrUnavailable: the database does not answer, or stopped answering. The same pass may succeed later.
	ErrUnavailable = errors.New("database is unavailable")
	// ErrUnusable: the database answers, and somebody has to change something there or in the DSN.
	ErrUnusable = errors.New("database cannot be used")
)

// advice says what can be done about what PostgreSQL reports, by SQLSTATE.
var advice = map[string]struct {
	kind error
	text string
}{
	"28P01": {ErrUnusable, "check user and password of the DSN"},
	"28000": {ErrUnusable, "check the user of the DSN, and pg_hba.conf of the server"},
	"3D000": {ErrUnusable, "check the database of the DSN"},
	"42501": {ErrUnusable, "GRANT SELECT on the table to the user of the DSN; " +
		"where row level security hides rows from it, ALTER ROLE … BYPASSRLS"},
	"57014": {ErrUnusable, "where that is statement_timeout, raise it for the user of the DSN"},
	"25P03": {ErrUnusable, "raise idle_in_transaction_session_timeout for the user of the DSN"},
	"25P04": {ErrUnusable, "raise transaction_timeout for the user of the DSN"},
	"53300": {ErrUnavailable, "the server has no connection left"},
	"40001": {ErrUnavailable, "the replica needed to go on: turn hot_standby_feedback on there, or read from the primary"},
	"57P01": {ErrUnavailable, "the server ended the connection"},
	"57P02": {ErrUnavailable, "the server crashed"},
	"57P03": {ErrUnavailable, "the server is starting or stopping"},
}

// explain says in one line what went wrong while doing what, and what can be done. It never shows the DSN.
func explain(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnusable) {
		return err // said already
	}
	var refusal *pgconn.PgError
	if errors.As(err, &refusal) {
		message := strings.Join(strings.Fields(refusal.Message), " ")
		if known, ok := advice[refusal.Code]; ok {
			return fmt.Errorf("%w: %s: %s: %s", known.kind, doing, message, known.text)
		}
		return fmt.Errorf("%s: %s (SQLSTATE %s)", doing, message, refusal.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect):
		return fmt.Errorf("%w: %s: %s: is a server running there, and does it take connections from here?", ErrUnavailable, doing, rootOf(err))
	case errors.As(err, &network), pgconn.Timeout(err), lost(err):
		return fmt.Errorf("%w: %s: the connection was lost (%s); nothing that was taken is lost, and the next pass goes on", ErrUnavailable, doing, rootOf(err))
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// lost says whether the error is what is left of a connection that is gone.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed)
}

// rootOf is the innermost error, the first where there are several, in one line: what wraps it repeats addresses and names.
func rootOf(err error) string {
	for {
		switch wrapper := err.(type) { //nolint:errorlint // the chain is walked by hand
		case interface{ Unwrap() error }:
			if inner := wrapper.Unwrap(); inner != nil {
				err = inner
				continue
			}
		case interface{ Unwrap() []error }:
			if inner := wrapper.Unwrap(); len(inner) > 0 {
				err = inner[0]
				continue
			}
		}
		return strings.Join(strings.Fields(err.Error()), " ")
	}
}
