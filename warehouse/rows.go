package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
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
