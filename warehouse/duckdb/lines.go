package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/apache/arrow-go/v18/arrow/scalar"
	duckdb "github.com/duckdb/duckdb-go/v2"
)

// A LineSource is a view of the lines of one reader after another, with the columns line, text, defect and tenant. A
// statement over it can be prepared, because its name is constant. To create a view for each reader would change the
// catalog each time, and each view takes memory that DuckDB's C API does not free.
type LineSource struct {
	View string // name of the view

	unregister func()
	reader     array.RecordReader // nil: no lines
	tenant     scalar.Scalar      // of all lines; NULL: the lines name their tenants
	record     arrow.RecordBatch  // current record, with all columns; nil: none
}

// lineSchema is the schema of a LineSource.
var lineSchema = arrow.NewSchema([]arrow.Field{
	{Name: "line", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "defect", Type: arrow.BinaryTypes.String, Nullable: true},
	{Name: "tenant", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// NewLineSource creates a view in the database in memory. The caller must not call it concurrently for one instance.
func NewLineSource(ctx context.Context, conn *sql.Conn, view string) (*LineSource, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &LineSource{View: view}
	err := conn.Raw(func(driverConn any) error {
		own, err := duckdb.NewArrowFromConn(unwrap(driverConn).(driver.Conn))
		if err != nil {
			return err
		}
		s.unregister, err = own.RegisterView(s, view)
		return classifierOf(driverConn)(err)
	})
	return s, err
}

// Drop drops the view. No statement may use it.
func (s *LineSource) Drop(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "DROP VIEW IF EXISTS memory.main."+s.View)
	s.unregister() // even if the view cannot be dropped
	return err
}

// Open sets the reader of the lines, with the columns line (int64), text and defect (string), and the tenant of all
// lines, or "". DuckDB's threads call the reader, one at a time. The caller calls Close before it releases the reader.
func (s *LineSource) Open(reader array.RecordReader, tenant string) {
	s.reader, s.tenant = reader, scalar.MakeNullScalar(arrow.BinaryTypes.String)
	if tenant != "" {
		s.tenant = scalar.NewStringScalar(tenant)
	}
}

// Close removes the reader. No statement may use the view at the same time.
func (s *LineSource) Close() {
	s.drop()
	s.reader = nil
}

func (s *LineSource) drop() {
	if s.record != nil {
		s.record.Release()
		s.record = nil
	}
}

// Schema returns the schema of the records.
func (s *LineSource) Schema() *arrow.Schema { return lineSchema }

// Next reads the next record and reports whether there is one. It releases the previous record.
func (s *LineSource) Next() bool {
	s.drop()
	if s.reader == nil || !s.reader.Next() {
		return false
	}
	record := s.reader.RecordBatch()
	tenants, err := scalar.MakeArrayFromScalar(s.tenant, int(record.NumRows()), mallocator.NewMallocator())
	if err != nil {
		panic(err) // strings can be repeated
	}
	defer tenants.Release()
	s.record = array.NewRecordBatch(lineSchema, append(record.Columns()[:3:3], tenants), record.NumRows())
	return true
}

// RecordBatch returns the current record, which is valid until the next call of Next.
func (s *LineSource) RecordBatch() arrow.RecordBatch { return s.record }

// Record returns the same as RecordBatch; the interface requires both.
func (s *LineSource) Record() arrow.RecordBatch { return s.record }

// Err returns the error that ended the reading early, if any.
func (s *LineSource) Err() error {
	if s.reader == nil {
		return errors.New("the source of lines has no reader")
	}
	return s.reader.Err()
}

// Retain does nothing: Drop ends the life of a source.
func (s *LineSource) Retain() {}

// Release does nothing.
func (s *LineSource) Release() {}
