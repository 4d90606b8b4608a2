package warehouse

import (
	"context"
	"database/sql"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Rows are the input rows of a batch before they are typed. They can be read once.
type Rows interface {
	// open returns a query that selects the untyped rows: line, raw and defect, and each field of the dataset as text
	// or JSON. The caller calls release after the query.
	open(ctx context.Context, w *Warehouse, conn *sql.Conn, dataset schema.Dataset) (
		untyped string, release func(), err error)
	// finish is called after all rows were read. It may stage further rows, and returns the error that ended the
	// reading early, if any.
	finish(ctx context.Context, conn *sql.Conn) error
}

// LinesSchema is the schema of the reader of [Lines]: the number of the line in its file, from 1; its text, which must
// be UTF-8; and the reason why the line cannot be a row, or null if no reason is known yet.
var LinesSchema = arrow.NewSchema([]arrow.Field{
	{Name: "line", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "defect", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// Lines are rows as JSON objects, one per line. DuckDB's threads call the reader, one at a time. C code holds its
// buffers, so they must be allocated outside of the Go heap.
type Lines struct{ Reader array.RecordReader }

func (l Lines) open(ctx context.Context, w *Warehouse, conn *sql.Conn, dataset schema.Dataset) (
	untyped string, release func(), err error,
) {
	view, release, err := w.register(ctx, conn, l.Reader)
	if err != nil {
		return "", nil, err
	}
	return dataset.UntypedLines(view), release, nil
}

// register creates a view of the reader's rows. The caller calls release, which drops the view, before it releases the
// reader.
func (w *Warehouse) register(ctx context.Context, conn *sql.Conn, reader array.RecordReader) (
	view string, release func(), err error,
) {
	// The view is visible to all connections of the instance, so its name must be unique.
	name := "rows_" + uuid.NewString()
	view = statements.Ident(name)
	w.registering.Lock()
	defer w.registering.Unlock()
	unregister, err := duckdb.RegisterView(conn, reader, name)
	return view, func() {
		w.registering.Lock()
		defer w.registering.Unlock()
		// The reader is unregistered even if the view cannot be dropped.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "DROP VIEW IF EXISTS "+view)
		unregister()
	}, err
}

func (l Lines) finish(context.Context, *sql.Conn) error { return l.Reader.Err() }
