package worker

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/encode"
	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// rows are the rows of a statement that runs.
type rows struct {
	statement *statement
	result    duckdb.Result
	source    *arrowbatch.Source
	converter *encode.Converter
	columns   []encode.Column
}

// start starts the statement and returns its rows. The parameters must be bound. DuckDB computes rows ahead of the
// reader, up to streamingBuffer. start returns a Failure if no format can hold a column's type.
func (s *statement) start() (*rows, error) {
	var pending duckdb.PendingResult
	defer duckdb.DestroyPending(&pending)
	if duckdb.PendingPreparedStreaming(s.prepared, &pending) == duckdb.StateError {
		return nil, s.explain(duckdb.PendingError(pending))
	}
	r := &rows{statement: s}
	if duckdb.ExecutePending(pending, &r.result) == duckdb.StateError {
		return nil, s.explain(duckdb.ResultError(&r.result))
	}
	var names []string
	var types []duckdb.LogicalType
	for i := range duckdb.ColumnCount(&r.result) {
		name, typ := duckdb.ColumnName(&r.result, i), duckdb.ColumnLogicalType(&r.result, i)
		of, err := typeOf(typ)
		if err != nil {
			return nil, &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
				"The column %q is of a type that no format can hold: cast it, such as to VARCHAR", name)}
		}
		names, types = append(names, name), append(types, typ)
		r.columns = append(r.columns, encode.Column{Name: name, Type: of})
	}
	source, fault := arrowbatch.NewSource(duckdb.ResultGetArrowOptions(&r.result), types, names)
	defer duckdb.DestroyErrorData(&fault)
	if duckdb.ErrorDataHasError(fault) {
		return nil, s.explain(duckdb.ErrorDataMessage(fault))
	}
	r.source, r.converter = source, encode.NewConverter(source.Schema, r.columns)
	return r, nil
}

// each calls consume with each batch, until the rows end or an error occurs. A batch is valid until consume returns.
func (r *rows) each(consume func(arrow.RecordBatch) error) error {
	stop := make(chan struct{})
	defer close(stop)
	for fetched := range r.fetch(stop) {
		if fetched.err != nil {
			return fetched.err
		}
		batch, err := r.toArrow(fetched.chunk)
		duckdb.DestroyDataChunk(&fetched.chunk)
		if err != nil {
			return err
		}
		err = consume(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
	return nil
}

// toArrow converts a chunk to Arrow. Every byte of the batch is determined by the rows. The caller releases the batch.
func (r *rows) toArrow(chunk duckdb.DataChunk) (arrow.RecordBatch, error) {
	for i, c := range r.columns {
		vector := duckdb.DataChunkGetVector(chunk, duckdb.IdxT(i))
		if !intervalsFit(vector, c.Type, duckdb.DataChunkGetSize(chunk)) {
			return nil, &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
				"An INTERVAL of the column %q has a time of more than 292 years: cast it to VARCHAR", c.Name)}
		}
	}
	batch, fault := r.source.Batch(chunk)
	defer duckdb.DestroyErrorData(&fault)
	if duckdb.ErrorDataHasError(fault) {
		return nil, r.statement.explain(duckdb.ErrorDataMessage(fault))
	}
	defer batch.Release()
	return r.converter.Convert(batch)
}

// fetch returns a channel of the chunks of the result, of at most 2,048 rows each. A goroutine fetches them until the
// result ends, an error occurs or stop is closed. The receiver converts the chunks to Arrow, because the fetching
// goroutine also executes the statement.
func (r *rows) fetch(stop <-chan struct{}) <-chan fetchedChunk {
	all := make(chan fetchedChunk, 1)
	go func() {
		defer close(all)
		for {
			next := fetchedChunk{chunk: duckdb.FetchChunk(r.result)}
			last := next.chunk.Ptr == nil
			if last {
				message := duckdb.ResultError(&r.result)
				if message == "" {
					return
				}
				next.err = r.statement.explain(message)
			}
			select {
			case all <- next:
			case <-stop:
				duckdb.DestroyDataChunk(&next.chunk)
				return
			}
			if last {
				return
			}
		}
	}()
	return all
}

// A fetchedChunk is a chunk of rows, or the error that ended the result. The receiver destroys the chunk.
type fetchedChunk struct {
	chunk duckdb.DataChunk
	err   error
}
