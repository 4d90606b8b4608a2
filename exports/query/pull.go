package query

import (
	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// pull begins to run the statement, whose parameters are bound, and has its rows fetched, in their order. DuckDB works ahead of them, as far as madeAhead.
func (s *statement) pull() (*rows, error) {
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
		names, types = append(names, duckdb.ColumnName(&result, i)), append(types, duckdb.ColumnLogicalType(&result, i))
	}
	r, err := s.rows(duckdb.ResultGetArrowOptions(&result), names, types)
	if err != nil {
		return nil, err
	}
	r.each = func(take func(arrow.RecordBatch) error) error {
		for fetched := range s.fetched(&result) {
			if fetched.err != nil {
				return fetched.err
			}
			batch, err := r.converted(fetched.chunk)
			duckdb.DestroyDataChunk(&fetched.chunk)
			if err != nil {
				return err
			}
			err = take(batch)
			batch.Release()
			if err != nil {
				return err
			}
		}
		return nil
	}
	return r, nil
}

// fetched are a result's rows as DuckDB makes them, in chunks of at most 2,048, to the end or to an error. Whoever takes one converts it, since
// what fetches is one of the threads that run the statement.
func (s *statement) fetched(result *duckdb.Result) <-chan fetched {
	all := make(chan fetched, 1)
	go func() {
		defer close(all)
		for {
			chunk := duckdb.FetchChunk(*result)
			if chunk.Ptr == nil {
				if message := duckdb.ResultError(result); message != "" {
					all <- fetched{err: s.explain(message)}
				}
				return
			}
			all <- fetched{chunk: chunk}
		}
	}()
	return all
}

type fetched struct {
	chunk duckdb.DataChunk // to be converted and destroyed
	err   error
}
