package query

import (
	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// fetchRows starts the statement and returns its rows in order. The parameters must be bound. DuckDB computes rows
// ahead of the reader, up to streamingBuffer.
func (s *statement) fetchRows() (*rows, error) {
	var pending duckdb.PendingResult
	defer duckdb.DestroyPending(&pending)
	if duckdb.PendingPreparedStreaming(s.prepared, &pending) == duckdb.StateError {
		return nil, s.explain(duckdb.PendingError(pending))
	}
	var result duckdb.Result
	if duckdb.ExecutePending(pending, &result) == duckdb.StateError {
		return nil, s.explain(duckdb.ResultError(&result))
	}
	var names []string
	var types []duckdb.LogicalType
	for i := range duckdb.ColumnCount(&result) {
		names = append(names, duckdb.ColumnName(&result, i))
		types = append(types, duckdb.ColumnLogicalType(&result, i))
	}
	r, err := s.rows(duckdb.ResultGetArrowOptions(&result), names, types)
	if err != nil {
		return nil, err
	}
	r.each = func(consume func(arrow.RecordBatch) error) error {
		stop := make(chan struct{})
		defer close(stop)
		for fetched := range s.fetchChunks(&result, stop) {
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
	return r, nil
}

// fetchChunks returns a channel of a result's chunks, of at most 2,048 rows each. A goroutine fetches them until the
// result ends, an error occurs or stop is closed. The receiver converts the chunks to Arrow, because the fetching
// goroutine also executes the statement.
func (s *statement) fetchChunks(result *duckdb.Result, stop <-chan struct{}) <-chan fetchedChunk {
	all := make(chan fetchedChunk, 1)
	go func() {
		defer close(all)
		for {
			next := fetchedChunk{chunk: duckdb.FetchChunk(*result)}
			last := next.chunk.Ptr == nil
			if last {
				message := duckdb.ResultError(result)
				if message == "" {
					return
				}
				next.err = s.explain(message)
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
