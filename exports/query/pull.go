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
		enough := make(chan struct{})
		defer close(enough)
		for fetched := range s.fetched(&result, enough) {
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

// fetched returns a channel of a result's rows as DuckDB makes them, in chunks of at most 2,048, to the end, to an error
// or until enough is closed. The receiver converts a chunk, because the goroutine that fetches also runs the statement.
func (s *statement) fetched(result *duckdb.Result, enough <-chan struct{}) <-chan fetched {
	all := make(chan fetched, 1)
	go func() {
		defer close(all)
		for {
			next := fetched{chunk: duckdb.FetchChunk(*result)}
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
			case <-enough:
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

type fetched struct {
	chunk duckdb.DataChunk // to be converted and destroyed
	err   error
}
