package warehouse

import (
	"context"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/google/uuid"
)

// Rows are the input rows of a batch before they are typed. They can be read once.
type Rows interface {
	// open returns a relation of the lines, with the columns line, text, defect and tenant. tenant is the tenant of all
	// rows, or zero. The caller calls release after it has read the relation.
	open(ctx context.Context, slot *stagingSlot, tenant uuid.UUID) (lines string, release func(), err error)
	// err returns the error that ended the reading early, if any.
	err() error
}

// LinesSchema is the schema of the reader of [Lines]: the number of the line in its file, from 1; its text, which must
// be UTF-8; and the reason why the line cannot be a row, or null if no reason is known yet.
var LinesSchema = arrow.NewSchema([]arrow.Field{
	{Name: "line", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "defect", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// Lines are rows as JSON objects, one per line. DuckDB's threads call the reader, one at a time. C code reads its
// buffers, so they must be allocated outside of the Go heap.
type Lines struct{ Reader array.RecordReader }

func (l Lines) open(_ context.Context, slot *stagingSlot, tenant uuid.UUID) (string, func(), error) {
	name := ""
	if tenant != uuid.Nil {
		name = tenant.String()
	}
	slot.source.Open(l.Reader, name)
	return slot.source.Relation, slot.source.Close, nil
}

func (l Lines) err() error { return l.Reader.Err() }
