package duckdb

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	bindings "github.com/duckdb/duckdb-go-bindings"
	duckdb "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// An ArrowStream is a stream of the rows of a statement, as Arrow batches that DuckDB makes while they are read. The
// Arrow reader of the driver would first make DuckDB hold all rows in memory.
type ArrowStream struct {
	Schema *arrow.Schema

	classify func(error) error // of errors of the connection

	prepared bindings.PreparedStatement
	pending  bindings.PendingResult
	result   bindings.Result
	options  bindings.ArrowOptions
	source   *arrowbatch.Source
	left     func() bool // reports whether the context has ended, which interrupts the statement
	release  func()
}

// StreamArrow starts a statement and returns its rows. When the context ends, the statement is interrupted. The caller
// must close the stream before it uses the connection again.
func StreamArrow(ctx context.Context, from any, statement string) (*ArrowStream, error) {
	conn, release, err := rawConnection(ctx, from)
	if err != nil {
		return nil, err
	}
	r := &ArrowStream{left: func() bool { return ctx.Err() != nil }, release: release, classify: classifierOf(from)}
	if err := r.run(conn, statement); err != nil {
		r.Close()
		return nil, errors.Join(ctx.Err(), r.classify(err))
	}
	return r, nil
}

func (r *ArrowStream) run(conn bindings.Connection, statement string) error {
	if bindings.Prepare(conn, statement, &r.prepared) == bindings.StateError {
		return failureOfKind(bindings.ErrorTypeInvalid, bindings.PrepareError(r.prepared))
	}
	//nolint:staticcheck // deprecated, but DuckDB has no other way to stream yet
	if bindings.PendingPreparedStreaming(r.prepared, &r.pending) == bindings.StateError {
		return failureOfKind(bindings.ErrorTypeInvalid, bindings.PendingError(r.pending))
	}
	if bindings.ExecutePending(r.pending, &r.result) == bindings.StateError {
		return r.failure()
	}
	r.options = bindings.ResultGetArrowOptions(&r.result)
	columns := bindings.ColumnCount(&r.result)
	names, types := make([]string, columns), make([]bindings.LogicalType, columns)
	for i := range columns {
		names[i], types[i] = bindings.ColumnName(&r.result, i), bindings.ColumnLogicalType(&r.result, i)
		defer bindings.DestroyLogicalType(&types[i])
	}
	source, wrong := arrowbatch.NewSource(r.options, types, names)
	if err := failureOf(wrong); err != nil {
		return err
	}
	r.source, r.Schema = source, source.Schema
	return nil
}

// Next returns the next batch, which the caller releases, or nil after the last one. Each byte of a batch is determined
// by its rows, see [arrowbatch].
func (r *ArrowStream) Next() (arrow.RecordBatch, error) {
	var chunk bindings.DataChunk
	//nolint:staticcheck // deprecated, but DuckDB has no other way to stream yet
	if bindings.StreamFetchChunk(r.result, &chunk) == bindings.StateError {
		if bindings.ResultError(&r.result) != "" {
			return nil, r.classify(r.failure())
		}
		return nil, nil // the end
	}
	defer bindings.DestroyDataChunk(&chunk)
	if bindings.DataChunkGetSize(chunk) == 0 {
		return nil, nil
	}
	batch, wrong := r.source.Batch(chunk)
	if err := failureOf(wrong); err != nil {
		return nil, r.classify(err)
	}
	return batch, nil
}

// Close ends the statement, which need not be complete, and frees its memory.
func (r *ArrowStream) Close() {
	bindings.DestroyArrowOptions(&r.options)
	bindings.DestroyResult(&r.result)
	bindings.DestroyPending(&r.pending)
	bindings.DestroyPrepare(&r.prepared)
	r.release()
}

// failure returns the error of the failed statement. If one of DuckDB's threads fails, it interrupts the others, and
// DuckDB may report only the interrupt.
func (r *ArrowStream) failure() error {
	kind, message := bindings.ResultErrorType(&r.result), bindings.ResultError(&r.result)
	if kind == bindings.ErrorTypeInterrupt && !r.left() {
		message += " A thread failed, of memory perhaps: DuckDB does not say."
	}
	return failureOfKind(kind, message)
}

// failureOfKind returns an error of the driver. The error types of the driver and of the bindings have the same
// numbers.
func failureOfKind(kind bindings.ErrorType, message string) error {
	return &duckdb.Error{Type: duckdb.ErrorType(kind), Msg: message}
}

// failureOf returns the error that the bindings report, or nil, and frees their memory.
func failureOf(wrong bindings.ErrorData) error {
	defer bindings.DestroyErrorData(&wrong)
	if wrong.Ptr == nil || !bindings.ErrorDataHasError(wrong) {
		return nil
	}
	return failureOfKind(bindings.ErrorDataErrorType(wrong), bindings.ErrorDataMessage(wrong))
}
