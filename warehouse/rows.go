package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Rows is the content of a batch, still loose: nothing is typed yet. It can be read once.
type Rows interface {
	// open returns a query of the loose rows: line, raw and defect, and each field of the dataset as text or JSON.
	open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose string, release func(), err error)
	// finish adds to staged what only shows once the rows were read.
	finish(ctx context.Context, conn *sql.Conn) error
}

// LinesSchema is what the reader of [Lines] yields: the number of the line in its file, counted from 1; its text, which
// must be UTF-8; and why it cannot be a row, where that is known already (else null).
var LinesSchema = arrow.NewSchema([]arrow.Field{
	{Name: "line", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "defect", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// registering lets one connection at a time change the views of the instance.
var registering sync.Mutex

// Lines are JSON objects, one a line. The reader is called from DuckDB's threads, one at a time; its buffers must be
// allocated outside of Go's heap, since C holds them.
type Lines struct{ Reader array.RecordReader }

func (l Lines) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose string, release func(), err error) {
	view, release, err := register(ctx, conn, l.Reader)
	if err != nil {
		return "", nil, err
	}
	return dataset.looseLines(view), release, nil
}

// register makes a view of what the reader yields. Release it before the reader.
func register(ctx context.Context, conn *sql.Conn, reader array.RecordReader) (view string, release func(), err error) {
	// A registered reader is a view of the instance, seen by every connection: its name must be this batch's alone.
	name := "rows_" + uuid.NewString()
	view = statements.Ident(name)
	var unregister func()
	registering.Lock()
	defer registering.Unlock()
	err = conn.Raw(func(driverConn any) error {
		arrowConn, err := duckdb.NewArrowFromConn(driverConn.(driver.Conn))
		if err != nil {
			return err
		}
		unregister, err = arrowConn.RegisterView(reader, name)
		return err
	})
	return view, func() {
		registering.Lock()
		defer registering.Unlock()
		// Whether or not the view can be dropped, what it reads ends here.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP VIEW IF EXISTS "+view)
		unregister()
	}, err
}

// looseLines is the query of the loose rows of a relation of lines: line, text and defect.
func (d Dataset) looseLines(relation string) string {
	types, columns := make([]string, len(d.fields)), make([]string, len(d.fields))
	for i, f := range d.fields {
		types[i] = fmt.Sprintf("%q:%q", f.name, f.looseType())
		columns[i] = f.named(f.trimmed("source." + statements.Ident(f.name)))
	}
	return statements.Fill("stage/ndjson", "lines", relation, "known", statements.Texts(d.acceptedFields()...), "fields", "{"+strings.Join(types, ",")+"}", "columns", strings.Join(columns, ", "))
}

func (l Lines) finish(context.Context, *sql.Conn) error { return l.Reader.Err() }

// trimmed is the loose text; an empty one counts as absent where the column is none of texts.
func (f field) trimmed(loose string) string {
	if f.typed() {
		return "nullif(trim(" + loose + "), '')"
	}
	return loose
}

// named gives the expression the field's name.
func (f field) named(expression string) string { return expression + " AS " + statements.Ident(f.name) }

// CSVFile is a CSV file (RFC 4180, UTF-8, a header line) at a path on this machine, plain.
type CSVFile string

func (c CSVFile) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (string, func(), error) {
	relation := "read_csv(" + statements.Text(string(c)) + `, header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', strict_mode = true, store_rejects = true)`
	columns, err := columnsOf(ctx, conn, relation)
	if err != nil {
		return "", nil, err
	}
	return dataset.looseTable(columns, statements.Fill("stage/csv", "row", looseRow(columns), "relation", relation)), func() {}, nil
}

// finish also refuses the lines that were no CSV.
func (CSVFile) finish(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, statements.Get("stage/csv_rejects")); err != nil {
		return err
	}
	return nil
}

// column is a column of a file: its name in ASCII's lower case, since DuckDB tells no more apart, and DuckDB's name of its type.
type column struct{ name, typ string }

func columnsOf(ctx context.Context, conn *sql.Conn, relation string) (columns []column, err error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE FROM "+relation+")")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.typ); err != nil {
			return nil, err
		}
		c.name = strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, c.name)
		columns = append(columns, c)
	}
	return columns, rows.Err()
}

// looseRow is the expression of a struct of the columns of a relation that is called loose_row. Arrow has nothing to hold a VARIANT.
func looseRow(columns []column) string {
	fields := make([]string, len(columns))
	for i, c := range columns {
		value := "loose_row." + statements.Ident(c.name)
		if strings.Contains(c.typ, "VARIANT") {
			value += "::JSON"
		}
		fields[i] = statements.Text(c.name) + ": " + value
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// looseTable is the query of the loose rows of a relation: line and loose_row, a struct of these columns. A field that it lacks is null.
func (d Dataset) looseTable(columns []column, relation string) string {
	expressions := make([]string, len(d.fields))
	for i, f := range d.fields {
		expressions[i] = f.named(f.looseFrom(columns))
	}
	known, unknown := d.acceptedFields(), []string{}
	for _, c := range columns {
		if !slices.Contains(known, c.name) && len(unknown) < maxUnknown {
			unknown = append(unknown, c.name)
		}
	}
	return statements.Fill("stage/table", "relation", relation, "columns", strings.Join(expressions, ", "),
		"unknown", "nullif("+statements.Texts(unknown...)+", [])")
}

// looseFrom is the expression that gives the field as text or JSON, whatever the type of its column is, or as it is where that can be
// cast as well: going through a text takes several times as long.
func (f field) looseFrom(columns []column) string {
	place := slices.IndexFunc(columns, func(c column) bool { return c.name == f.name })
	if place < 0 {
		return "NULL::" + f.looseType()
	}
	column, typ := "loose_row."+statements.Ident(f.name), columns[place].typ
	switch {
	case f.typ == "JSON" && typ == "VARCHAR":
		return "loose_json(" + column + ")"
	case f.typ == "JSON" && typ == "JSON": // to_json gives the same, and copies each document before it writes it
		return "json(" + column + ")"
	case f.typ == "JSON":
		return "to_json(" + column + ")"
	case f.typ == "TIMESTAMPTZ" && typ == "TIMESTAMP": // as the cast does in UTC, which looks at a calendar for each
		return "CASE WHEN isfinite(" + column + ") THEN make_timestamptz(epoch_us(" + column + ")) ELSE " + column + "::TIMESTAMPTZ END"
	case f.casts(typ):
		return column
	default:
		return f.trimmed(column + "::VARCHAR")
	}
}

// casts tells whether values of DuckDB's type typ become what their texts would. Those of FLOAT do not: 0.1 would be 0.10000000149.
func (f field) casts(typ string) bool {
	switch f.typ {
	case "UUID", "BOOLEAN":
		return typ == f.typ
	case "TIMESTAMPTZ":
		return typ == "TIMESTAMP WITH TIME ZONE"
	case "INTEGER", "BIGINT", "DOUBLE", "DECIMAL(10,4)":
		return slices.Contains([]string{"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DOUBLE"}, typ) || strings.HasPrefix(typ, "DECIMAL")
	}
	return false
}
