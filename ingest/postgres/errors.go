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

// Kinds of error. Other errors are warehouse.ErrInvalid, for a DSN or a state, or bugs.
var (
	// ErrUnavailable is returned if the database does not respond, or stopped responding. The same pull may succeed later.
	ErrUnavailable = errors.New("database is unavailable")
	// ErrUnusable is returned if the database responds, and its settings or the DSN have to be changed.
	ErrUnusable = errors.New("database cannot be used")
)

// advice has the kind and the remedy for errors of PostgreSQL, by SQLSTATE.
var advice = map[string]struct {
	kind error
	text string
}{
	"28P01": {ErrUnusable, "check user and password of the DSN"},
	"28000": {ErrUnusable, "check the user of the DSN, and pg_hba.conf of the server"},
	"3D000": {ErrUnusable, "check the database of the DSN"},
	"42501": {ErrUnusable, "GRANT SELECT on the table to the user of the DSN; " +
		"if row level security hides rows from it, ALTER ROLE … BYPASSRLS"},
	"57014": {ErrUnusable, "if that is statement_timeout (15 minutes by default), raise it for the user of the DSN, " +
		"or in the DSN (options='-c statement_timeout=1h')"},
	"55P03": {ErrUnavailable, "another session has locked the table, for example ALTER TABLE or VACUUM FULL; " +
		"the next run tries again"},
	"25P03": {ErrUnusable, "raise idle_in_transaction_session_timeout for the user of the DSN"},
	"25P04": {ErrUnusable, "raise transaction_timeout for the user of the DSN"},
	"53300": {ErrUnavailable, "the server has no connection left"},
	"40001": {ErrUnavailable, "the replica cancelled the query: " +
		"turn hot_standby_feedback on there, or read from the primary"},
	"57P01": {ErrUnavailable, "the server ended the connection"},
	"57P02": {ErrUnavailable, "the server crashed"},
	"57P03": {ErrUnavailable, "the server is starting or stopping"},
}

// explainError wraps err with its kind, the action that failed and the remedy, in one line. Texts of the server and of
// the driver are redacted, so the result never contains a secret.
func (s *Source) explainError(ctx context.Context, action string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", action, ctx.Err())
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnusable) {
		return err // already explained
	}
	var serverError *pgconn.PgError
	if errors.As(err, &serverError) {
		message := redact(strings.Join(strings.Fields(strings.ToValidUTF8(serverError.Message, "\uFFFD")), " "), s.secrets)
		if known, ok := advice[serverError.Code]; ok {
			return fmt.Errorf("%w: %s: %s: %s", known.kind, action, message, known.text)
		}
		return fmt.Errorf("%s: %s (SQLSTATE %s)", action, message, serverError.Code)
	}
	var connect *pgconn.ConnectError
	var network net.Error
	switch {
	case errors.As(err, &connect):
		return fmt.Errorf("%w: %s: %s: is a server running there, and does it accept connections from here?",
			ErrUnavailable, action, redact(rootCause(err), s.secrets))
	case errors.As(err, &network), pgconn.Timeout(err), isConnectionLoss(err):
		return fmt.Errorf("%w: %s: the connection was lost (%s); stored rows are kept, and the next run continues",
			ErrUnavailable, action, redact(rootCause(err), s.secrets))
	}
	if text := err.Error(); redact(text, s.secrets) != text {
		return fmt.Errorf("%s: %s", action, redact(text, s.secrets))
	}
	return fmt.Errorf("%s: %w", action, err)
}

// isConnectionLoss reports whether err was caused by a connection that was closed.
func isConnectionLoss(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed)
}

// rootCause returns the text of the innermost error on one line. Of several joined errors it takes the first. The outer
// errors are left out, because they repeat addresses and names.
func rootCause(err error) string {
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
