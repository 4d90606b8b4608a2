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
	// open returns queries of the loose rows, which are run one after the other: line, raw and defect, and each field of the dataset as
	// text or JSON.
	open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose []string, release func(), err error)
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

func (l Lines) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose []string, release func(), err error) {
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
		return nil, nil, err
	}
	release = func() {
		registering.Lock()
		defer registering.Unlock()
		// Whether or not the view can be dropped, what it reads ends here.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP VIEW IF EXISTS "+statements.Ident(name))
		unregister()
	}
	return []string{dataset.looseLines(statements.Ident(name))}, release, nil
}

// looseLines is the query of the loose rows of a relation of lines: line, text and defect.
func (d Dataset) looseLines(relation string) string {
	types, columns := make([]string, len(d.fields)), make([]string, len(d.fields))
	for i, f := range d.fields {
		types[i] = fmt.Sprintf("%q:%q", f.name, f.looseType())
		columns[i] = f.named(f.trimmed("source." + statements.Ident(f.name)))
	}
	return statements.Fill("stage/ndjson", "lines", relation, "known", statements.Texts(d.known()...), "fields", "{"+strings.Join(types, ",")+"}", "columns", strings.Join(columns, ", "))
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

// ParquetFile is a part of a Parquet file at a path on this machine, see [Warehouse.ParquetParts].
type ParquetFile struct {
	Path   string
	First  int64   // its first row, counted from 0
	pieces []int64 // how many rows are read at once, one piece after the other
}

func (p ParquetFile) open(ctx context.Context, conn *sql.Conn, dataset Dataset) (loose []string, _ func(), err error) {
	relation := "read_parquet(" + statements.Text(p.Path) + ")"
	types, err := columnTypes(ctx, conn, relation)
	if err != nil {
		return nil, nil, err
	}
	if _, taken := types["file_row_number"]; taken {
		return nil, nil, fmt.Errorf("%w: it has a column called file_row_number, which is DuckDB's name for the number of a row", ErrUnreadable)
	}
	first := p.First
	for _, rows := range p.pieces {
		piece := fmt.Sprintf("WHERE file_row_number BETWEEN %d AND %d", first, first+rows-1)
		loose = append(loose, dataset.looseTable(types, relation, piece, "file_row_number + 1"))
		first += rows
	}
	return loose, func() {}, nil
}

func (ParquetFile) finish(context.Context, *sql.Conn) error { return nil }

// ParquetParts parts a Parquet file into batches of [RowGroup] rows: of more or fewer, the row groups of the tenant's file are not full, and the
// next checkpoint packs them all anew. No piece of a part has rows of a row group that is as large as a batch and of another one: DuckDB
// unpacks whole row groups, as many at a time as there are cores. bytes is what it says that it holds before its compression.
// ErrUnreadable: it is none. ErrTooLarge: it says that it has more than most rows.
func (w *Warehouse) ParquetParts(ctx context.Context, path string, most int64) (parts []ParquetFile, bytes int64, err error) {
	groups, err := w.loader.QueryContext(ctx, statements.Get("stage/parquet_groups"), sql.Named("path", path))
	if err != nil {
		return nil, 0, w.diagnose(unreadable(err))
	}
	defer groups.Close()
	first, before := int64(0), int64(0)
	for groups.Next() {
		var rows, size int64
		if err := groups.Scan(&rows, &size); err != nil {
			return nil, 0, err
		}
		if rows < 0 || size < 0 {
			return nil, 0, fmt.Errorf("%w: its footer contradicts itself", ErrUnreadable)
		}
		if rows > most-first { // before a list of so many parts fills the memory
			return nil, 0, fmt.Errorf("%w: it says that it has more than %d rows", ErrTooLarge, most)
		}
		bytes += size
		alone := max(rows, before) >= RowGroup
		before = rows
		for rows > 0 {
			room := RowGroup - first%RowGroup
			if room == RowGroup {
				parts = append(parts, ParquetFile{Path: path, First: first})
			}
			piece, part := min(rows, room), &parts[len(parts)-1]
			if last := len(part.pieces) - 1; last >= 0 && !alone {
				part.pieces[last] += piece
			} else {
				part.pieces = append(part.pieces, piece)
			}
			first, rows = first+piece, rows-piece
		}
	}
	return parts, bytes, w.diagnose(unreadable(groups.Err()))
}

// CSVFile is a CSV file (RFC 4180, UTF-8, a header line) at a path on this machine, plain.
type CSVFile string

func (c CSVFile) open(ctx context.Context, conn *sql.Conn, dataset Dataset) ([]string, func(), error) {
	// The header is line 1. The line is exact as long as no value before it holds a line break.
	relation := "read_csv(" + statements.Text(string(c)) + `, header = true, all_varchar = true, delim = ',', quote = '"', escape = '"', strict_mode = true, store_rejects = true)`
	types, err := columnTypes(ctx, conn, relation)
	if err != nil {
		return nil, nil, err
	}
	return []string{dataset.looseTable(types, relation, "", "row_number() OVER () + 1")}, func() {}, nil
}

// finish also refuses the lines that were no CSV.
func (CSVFile) finish(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, statements.Get("stage/csv_rejects")); err != nil {
		return err
	}
	return nil
}

// looseTable is the query of the loose rows of a relation with columns of these types, or a part of them: a field that it lacks is null.
func (d Dataset) looseTable(types map[string]string, relation, part, line string) string {
	columns := make([]string, len(d.fields))
	for i, f := range d.fields {
		columns[i] = f.named(f.looseFrom(types))
	}
	known, unknown := d.known(), []string{}
	for name := range types {
		if !slices.Contains(known, name) && len(unknown) < maxUnknown {
			unknown = append(unknown, name)
		}
	}
	return statements.Fill("stage/table", "relation", relation, "part", part, "line", line, "columns", strings.Join(columns, ", "),
		"unknown", "nullif("+statements.Texts(unknown...)+", [])")
}

// looseFrom is the expression that gives the field as text or JSON, whatever the type of its column is, or as it is where that can be
// cast as well: going through a text takes several times as long.
func (f field) looseFrom(types map[string]string) string {
	column := "loose_row." + statements.Ident(f.name)
	typ, ok := types[f.name]
	switch {
	case !ok:
		return "NULL::" + f.looseType()
	case f.typ == "JSON" && typ == "VARCHAR":
		return "loose_json(" + column + ")"
	case f.typ == "JSON" && typ == "JSON": // to_json gives the same, and copies each document before it writes it
		return "json(" + column + ")"
	case f.typ == "JSON":
		return "to_json(" + column + ")"
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
		return typ == "TIMESTAMP WITH TIME ZONE" || typ == "TIMESTAMP"
	case "INTEGER", "BIGINT", "DOUBLE", "DECIMAL(10,4)":
		return slices.Contains([]string{"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "DOUBLE"}, typ) || strings.HasPrefix(typ, "DECIMAL")
	}
	return false
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
