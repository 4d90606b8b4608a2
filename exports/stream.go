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
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Source opens the snapshots that streams read. It is implemented by [warehouse.Warehouse].
type Source interface {
	// Snapshot opens a snapshot of a tenant's rows. The caller closes it.
	Snapshot(ctx context.Context, tenant uuid.UUID) (*warehouse.Snapshot, error)
}

// A Request describes a stream: the export, its rows and columns, and the format.
type Request struct {
	Export  schema.Export
	Filter  schema.Filter
	Columns []string // names in the order of the output; empty: all columns
	Format  Format
	CSV     CSVOptions
}

// A Stream is an export of one snapshot. The caller closes it.
type Stream struct {
	AsOf time.Time // time of the snapshot: it contains every earlier commit

	snapshot  *warehouse.Snapshot
	statement string
	request   Request
}

// Open opens a snapshot of the tenant and returns a stream of the requested rows. It returns ErrInvalid if a requested
// column is not in the export or is requested twice.
func Open(ctx context.Context, source Source, tenant uuid.UUID, request Request) (*Stream, error) {
	if err := request.selectColumns(); err != nil {
		return nil, err
	}
	snapshot, err := source.Snapshot(ctx, tenant)
	if err != nil {
		return nil, err
	}
	statement, err := snapshot.Select(ctx, request.Export, request.Filter)
	if err != nil {
		return nil, errors.Join(err, snapshot.Close())
	}
	return &Stream{
		AsOf: snapshot.AsOf, snapshot: snapshot, statement: statement, request: request,
	}, nil
}

// selectColumns reduces the export's column descriptions to the requested columns.
func (r *Request) selectColumns() error {
	if len(r.Columns) == 0 {
		return nil
	}
	var selected []schema.Column
	for i, name := range r.Columns {
		at := slices.IndexFunc(r.Export.Columns, func(c schema.Column) bool { return c.Name == name })
		if at < 0 {
			return fmt.Errorf("%w: %s has no column %q", warehouse.ErrInvalid, r.Export.Name, name)
		}
		if slices.Contains(r.Columns[:i], name) {
			return fmt.Errorf("%w: column %q is requested twice", warehouse.ErrInvalid, name)
		}
		selected = append(selected, r.Export.Columns[at])
	}
	r.Export.Columns = selected
	return nil
}

// Close releases the snapshot.
func (s *Stream) Close() error { return s.snapshot.Close() }

// Count returns the number of rows of the stream.
func (s *Stream) Count(ctx context.Context) (rows int64, err error) {
	err = s.snapshot.Conn.QueryRowContext(ctx, "SELECT count(*) FROM ("+s.statement+")").Scan(&rows)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", s.request.Export.Name, err)
	}
	return rows, nil
}

// Write writes the stream to out and returns the number of rows, as [Write] does. If ctx has ended, the error includes
// its cause.
func (s *Stream) Write(ctx context.Context, out io.Writer) (rows int64, err error) {
	result := Result{About: s.request.Export, AsOf: s.AsOf, Statement: s.project(s.statement)}
	if s.request.Format == Arrow {
		if result.Dictionaries, err = s.dictionaries(ctx); err != nil {
			return 0, err
		}
	}
	rows, err = Write(ctx, s.snapshot.Conn, result, s.request.Format, s.request.CSV, out)
	if err != nil && ctx.Err() != nil {
		return rows, errors.Join(context.Cause(ctx), err)
	}
	return rows, err
}

// project returns a statement that selects the requested columns of the given one.
func (s *Stream) project(statement string) string {
	if len(s.request.Columns) == 0 {
		return statement
	}
	columns := make([]string, len(s.request.Columns))
	for i, name := range s.request.Columns {
		columns[i] = statements.Ident(name)
	}
	return "SELECT " + strings.Join(columns, ", ") + " FROM (" + statement + ")"
}

// dictionaryColumns are the columns with few distinct values, which Arrow writes as dictionaries.
var dictionaryColumns = []string{"direction", "status", "provider", "message_type"}

// maxDictionary is the maximum number of values in a dictionary, so that its indices fit in one byte.
const maxDictionary = 255

// dictionaries returns the distinct values of each requested dictionary column. Columns with more than maxDictionary
// values are left out.
func (s *Stream) dictionaries(ctx context.Context) (map[string][]string, error) {
	dictionaries := map[string][]string{}
	for _, column := range s.request.Export.Columns {
		if !slices.Contains(dictionaryColumns, column.Name) {
			continue
		}
		values, err := s.distinct(ctx, column.Name)
		if err != nil {
			return nil, fmt.Errorf("values of %s: %w", column.Name, err)
		}
		if len(values) <= maxDictionary {
			dictionaries[column.Name] = values
		}
	}
	return dictionaries, nil
}

// distinct returns the distinct values of a column in the export's source dataset, sorted, at most maxDictionary+1.
func (s *Stream) distinct(ctx context.Context, column string) (found []string, err error) {
	statement := fmt.Sprintf("SELECT DISTINCT %s AS value FROM %s WHERE value IS NOT NULL ORDER BY value LIMIT %d",
		statements.Ident(column), statements.Ident(s.request.Export.Source.Name), maxDictionary+1)
	rows, err := s.snapshot.Conn.QueryContext(ctx, statement)
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
