package exports

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
)

// Source is what streams need of the warehouse.
type Source interface {
	// Snapshot begins to read one state of a tenant's rows.
	Snapshot(ctx context.Context, tenant uuid.UUID) (*warehouse.Snapshot, error)
	// Diagnose gives errors of reading it their kind.
	Diagnose(err error) error
}

// Request says what of an export is asked for, and how.
type Request struct {
	Export  warehouse.Export
	Filter  warehouse.Filter
	Columns []string // in this order; none: all
	Format  Format
	CSV     CSVOptions
}

// Stream is an export of one state of the rows, ready to be written. Close it.
type Stream struct {
	AsOf time.Time // every commit before is in it

	source    Source
	snapshot  *warehouse.Snapshot
	statement string
	request   Request
}

// Open begins a stream. A column that the export has not, or that is asked for twice, is ErrInvalid.
func Open(ctx context.Context, source Source, tenant uuid.UUID, request Request) (*Stream, error) {
	if err := request.choose(); err != nil {
		return nil, err
	}
	snapshot, err := source.Snapshot(ctx, tenant)
	if err != nil {
		return nil, source.Diagnose(err)
	}
	statement, err := snapshot.Select(ctx, request.Export, request.Filter)
	if err != nil {
		return nil, errors.Join(source.Diagnose(err), snapshot.Close())
	}
	return &Stream{AsOf: snapshot.AsOf, source: source, snapshot: snapshot, statement: statement, request: request}, nil
}

// choose leaves of the export's description the columns that are asked for.
func (r *Request) choose() error {
	if len(r.Columns) == 0 {
		return nil
	}
	var chosen []warehouse.Column
	for i, name := range r.Columns {
		at := slices.IndexFunc(r.Export.Columns, func(c warehouse.Column) bool { return c.Name == name })
		if at < 0 {
			return fmt.Errorf("%w: %s has no column %q", warehouse.ErrInvalid, r.Export.Name, name)
		}
		if slices.Contains(r.Columns[:i], name) {
			return fmt.Errorf("%w: the column %q is asked for twice", warehouse.ErrInvalid, name)
		}
		chosen = append(chosen, r.Export.Columns[at])
	}
	r.Export.Columns = chosen
	return nil
}

// Close lets the state of the rows go.
func (s *Stream) Close() error { return s.snapshot.Close() }

// Count is the number of rows that the stream will have.
func (s *Stream) Count(ctx context.Context) (rows int64, err error) {
	err = s.snapshot.Conn.QueryRowContext(ctx, "SELECT count(*) FROM ("+s.statement+")").Scan(&rows)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", s.request.Export.Name, s.source.Diagnose(err))
	}
	return rows, nil
}

// Write writes it, see [Write].
func (s *Stream) Write(ctx context.Context, out io.Writer) (rows int64, err error) {
	result := Result{About: s.request.Export, AsOf: s.AsOf, Statement: s.narrowed(s.statement)}
	if s.request.Format == Arrow {
		if result.Values, err = s.values(ctx); err != nil {
			return 0, s.source.Diagnose(err)
		}
	}
	rows, err = Write(ctx, s.snapshot.Conn, result, s.request.Format, s.request.CSV, out)
	if err != nil && ctx.Err() != nil {
		return rows, errors.Join(context.Cause(ctx), err)
	}
	return rows, s.source.Diagnose(err)
}

// narrowed leaves the columns that are asked for.
func (s *Stream) narrowed(statement string) string {
	if len(s.request.Columns) == 0 {
		return statement
	}
	columns := make([]string, len(s.request.Columns))
	for i, name := range s.request.Columns {
		columns[i] = statements.Ident(name)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + statement + ")"
}

// few are the columns of few different values.
var few = []string{"direction", "status", "provider", "message_type"}

// maxValues is how many different texts a dictionary may have: its indices are bytes.
const maxValues = 255

// values are those of the columns that have few, as far as these are asked for. A column with more than a dictionary may have stays as it is.
func (s *Stream) values(ctx context.Context) (map[string][]string, error) {
	values := map[string][]string{}
	for _, column := range s.request.Export.Columns {
		if !slices.Contains(few, column.Name) {
			continue
		}
		found, err := s.distinct(ctx, column.Name)
		if err != nil {
			return nil, fmt.Errorf("values of %s: %w", column.Name, err)
		}
		if len(found) <= maxValues {
			values[column.Name] = found
		}
	}
	return values, nil
}

// distinct are the values of a column of the source, no more than one more than a dictionary may have.
func (s *Stream) distinct(ctx context.Context, column string) (found []string, err error) {
	rows, err := s.snapshot.Conn.QueryContext(ctx, fmt.Sprintf("SELECT DISTINCT %s AS value FROM %s WHERE value IS NOT NULL ORDER BY value LIMIT %d",
		statements.Ident(column), statements.Ident(s.request.Export.Source.Name), maxValues+1))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, err
		}
		found = append(found, value)
	}
	return found, rows.Err()
}
