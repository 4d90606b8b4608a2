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
	// A registered reader is a view of the instance, seen by every connection: its name must be this batch's alone.
	name := "lines_" + uuid.NewString()
	var unregister func()
	registering.Lock()
	defer registering.Unlock()
	err = conn.Raw(func(driverConn any) error {
		arrowConn, err := duckdb.NewArrowFromConn(driverConn.(driver.Conn))
		if err != nil {
			return err
		}
		unregister, err = arrowConn.RegisterView(l.Reader, name)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	release = func() {
		registering.Lock()
		defer registering.Unlock()
		// Whether or not the view can be dropped, what it reads ends here.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP VIEW IF EXISTS "+statements.Ident(name))
		unregister()
	}
	return dataset.looseLines(statements.Ident(name)), release, nil
}

// looseLines is the query of the loose rows of a relation of lines: line, text and defect.
func (d Dataset) looseLines(relation string) string {
	types, columns := make([]string, len(d.fields)), make([]string, len(d.fields))
	for i, f := range d.fields {
		types[i] = fmt.Sprintf("%q:%q", f.name, f.looseType())
		columns[i] = f.trimmed("source." + statements.Ident(f.name))
	}
	return statements.Fill("stage/ndjson", "lines", relation, "known", statements.Texts(d.known()...), "fields", "{"+strings.Join(types, ",")+"}", "columns", strings.Join(columns, ", "))
}

func (l Lines) finish(context.Context, *sql.Conn) error { return l.Reader.Err() }

// trimmed names the loose value; an empty text counts as absent where the column is none of texts.
func (f field) trimmed(loose string) string {
	if f.typed() {
		loose = "nullif(trim(" + loose + "), '')"
	}
	return loose + " AS " + statements.Ident(f.name)
}

// ParquetFile is a Parquet file at a path on this machine.
type ParquetFile string

func (p ParquetFile) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (string, func(), error) {
	return openTable(ctx, conn, dataset, "read_parquet("+statements.Text(string(p))+", file_row_number = true)", "file_row_number + 1")
}

func (ParquetFile) finish(context.Context, *sql.Conn) error { return nil }

// ParquetSize is what a Parquet file says that it holds: rows, and bytes before their compression. ErrUnreadable: it is none.
func (w *Warehouse) ParquetSize(ctx context.Context, path string) (rows, bytes int64, err error) {
	if err = w.loader.QueryRowContext(ctx, statements.Get("stage/parquet_size"), sql.Named("path", path)).Scan(&rows, &bytes); err != nil {
		return 0, 0, w.diagnose(unreadable(err))
	}
	return rows, bytes, nil
}

// CSVFile is a CSV file (RFC 4180, UTF-8, a header line) at a path on this machine, plain.
type CSVFile string

func (c CSVFile) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (string, func(), error) {
	// The header is line 1. The line is exact as long as no value before it holds a line break.
	relation := "read_csv(" + statements.Text(string(c)) + `, header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', strict_mode = true, store_rejects = true)`
	return openTable(ctx, conn, dataset, relation, "row_number() OVER () + 1")
}

// finish also refuses the lines that were no CSV.
func (CSVFile) finish(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, statements.Get("stage/csv_rejects")); err != nil {
		return err
	}
	return nil
}

// openTable returns the query of the loose rows of a relation: a field that the relation lacks is null.
func openTable(ctx context.Context, conn *sql.Conn, dataset Dataset, relation, line string) (string, func(), error) {
	types, err := columnTypes(ctx, conn, relation)
	if err != nil {
		return "", nil, err
	}
	columns := make([]string, len(dataset.fields))
	for i, f := range dataset.fields {
		columns[i] = f.trimmed(f.looseFrom(types))
	}
	known, unknown := dataset.known(), []string{}
	for name := range types {
		if !slices.Contains(known, name) && len(unknown) < maxUnknown {
			unknown = append(unknown, name)
		}
	}
	return statements.Fill("stage/table", "relation", relation, "line", line, "columns", strings.Join(columns, ", "),
		"unknown", "nullif("+statements.Texts(unknown...)+", [])"), func() {}, nil
}

// looseFrom is the expression that gives the field as text or JSON, whatever the type of its column is.
func (f field) looseFrom(types map[string]string) string {
	column := "loose_row." + statements.Ident(f.name)
	typ, ok := types[f.name]
	switch {
	case !ok:
		return "NULL::" + f.looseType()
	case f.typ != "JSON":
		return column + "::VARCHAR"
	case typ == "VARCHAR":
		return "loose_json(" + column + ")"
	default:
		return "to_json(" + column + ")"
	}
}

func columnTypes(ctx context.Context, conn *sql.Conn, relation string) (map[string]string, error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE FROM "+relation+")")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	types := map[string]string{}
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return nil, err
		}
		types[strings.ToLower(name)] = typ // as DuckDB compares names
	}
	return types, rows.Err()
}
