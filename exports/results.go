package exports

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	bindings "github.com/duckdb/duckdb-go-bindings"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse"
)

// results are the rows of a statement, as batches that DuckDB makes while they are read: the driver's own Arrow reader would first have
// it hold all of them.
type results struct {
	schema *arrow.Schema

	prepared bindings.PreparedStatement
	pending  bindings.PendingResult
	result   bindings.Result
	options  bindings.ArrowOptions
	left     func() bool // whether whoever asked has left, so that the statement is interrupted
	release  func()
}

// read begins to run a statement. When the context ends, DuckDB is interrupted. Close the results, before anything else is done with
// the connection.
func read(ctx context.Context, from driver.Conn, statement string) (_ *results, err error) {
	conn, release, err := warehouse.Interruptible(ctx, from)
	if err != nil {
		return nil, err
	}
	r := &results{left: func() bool { return ctx.Err() != nil }, release: release}
	defer func() {
		if err != nil {
			r.close()
			err = errors.Join(ctx.Err(), err)
		}
	}()
	if bindings.Prepare(conn, statement, &r.prepared) == bindings.StateError {
		return nil, failure(bindings.ErrorTypeInvalid, bindings.PrepareError(r.prepared))
	}
	if bindings.PendingPreparedStreaming(r.prepared, &r.pending) == bindings.StateError { //nolint:staticcheck // said to go when there is another way to stream
		return nil, failure(bindings.ErrorTypeInvalid, bindings.PendingError(r.pending))
	}
	if bindings.ExecutePending(r.pending, &r.result) == bindings.StateError {
		return nil, r.failure()
	}
	r.options = bindings.ResultGetArrowOptions(&r.result)
	columns := bindings.ColumnCount(&r.result)
	names, types := make([]string, columns), make([]bindings.LogicalType, columns)
	for i := range columns {
		names[i], types[i] = bindings.ColumnName(&r.result, i), bindings.ColumnLogicalType(&r.result, i)
		defer bindings.DestroyLogicalType(&types[i])
	}
	var wrong bindings.ErrorData
	r.schema, wrong = bindings.NewArrowSchema(r.options, types, names)
	return r, failureOf(wrong)
}

// next is the next batch, which the caller releases; nil: there are no more.
func (r *results) next() (arrow.RecordBatch, error) {
	var chunk bindings.DataChunk
	if bindings.StreamFetchChunk(r.result, &chunk) == bindings.StateError { //nolint:staticcheck // as above
		if bindings.ResultError(&r.result) != "" {
			return nil, r.failure()
		}
		return nil, nil // the end
	}
	defer bindings.DestroyDataChunk(&chunk)
	if bindings.DataChunkGetSize(chunk) == 0 {
		return nil, nil
	}
	batch, wrong := bindings.DataChunkToArrowArray(r.options, r.schema, chunk)
	if err := failureOf(wrong); err != nil {
		return nil, err
	}
	return batch, nil
}

// close ends the statement, wherever it is.
func (r *results) close() {
	bindings.DestroyArrowOptions(&r.options)
	bindings.DestroyResult(&r.result)
	bindings.DestroyPending(&r.pending)
	bindings.DestroyPrepare(&r.prepared)
	r.release()
}

// failure is why the statement failed. Where one of DuckDB's threads fails, it interrupts the others, and may tell of that alone.
func (r *results) failure() error {
	kind, message := bindings.ResultErrorType(&r.result), bindings.ResultError(&r.result)
	if kind == bindings.ErrorTypeInterrupt && !r.left() {
		message += " A thread failed, of memory perhaps: DuckDB does not say."
	}
	return failure(kind, message)
}

// failure is an error as the driver has them: its kinds have DuckDB's numbers.
func failure(kind bindings.ErrorType, message string) error {
	return &duckdb.Error{Type: duckdb.ErrorType(kind), Msg: message}
}

func failureOf(wrong bindings.ErrorData) error {
	defer bindings.DestroyErrorData(&wrong)
	if wrong.Ptr == nil || !bindings.ErrorDataHasError(wrong) {
		return nil
	}
	return failure(bindings.ErrorDataErrorType(wrong), bindings.ErrorDataMessage(wrong))
}
