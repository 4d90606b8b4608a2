package query

/*
void voicoryTakeRows(void *info, void *rows, void *returned);
*/
import "C"

import (
	"crypto/rand"
	"fmt"
	"runtime"
	"runtime/cgo"
	"strings"
	"sync"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// callbackRows prepares the statement to deliver its rows by a callback, in no order. DuckDB's threads call a function
// of the program with each chunk, so that no chunk is copied and no thread waits for a fetch.
//
// callbackRows returns nil if the statement cannot run within another one, or has parameters: the types of its columns
// may depend on their values. The user's statement cannot call the function, because its name is not on the allow list.
func (s *statement) callbackRows() (*rows, error) {
	if s.standalone || duckdb.NParams(s.prepared) > 0 {
		return nil, nil
	}
	var names, numbered []string
	var types []duckdb.LogicalType
	for i := range duckdb.PreparedStatementColumnCount(s.prepared) {
		names = append(names, duckdb.PreparedStatementColumnName(s.prepared, i))
		types = append(types, duckdb.PreparedStatementColumnLogicalType(s.prepared, i))
		numbered = append(numbered, fmt.Sprintf("c%d", i)) // names need not be unique
	}
	var options duckdb.ArrowOptions
	duckdb.ConnectionGetArrowOptions(s.engine.conn, &options)
	r, err := s.rows(options, names, types)
	if err != nil {
		return nil, err
	}
	c := &rowCallback{rows: r, name: "take_rows_" + rand.Text()} // a name can be registered once per connection
	if !c.register(types) {
		return nil, nil
	}
	const prefix = "FROM ("
	columns := strings.Join(numbered, ", ")
	inner := strings.TrimRight(s.text, "; \t\r\n")
	within := &statement{engine: s.engine, text: s.text, before: len(prefix)}
	// The function is called in an aggregate, because DuckDB may push a filter down into the user's statement.
	outer := prefix + inner + "\n) AS made(" + columns + ") SELECT max(" + c.name + "(" + columns + "))"
	if duckdb.Prepare(s.engine.conn, outer, &within.prepared) == duckdb.StateError {
		return nil, nil
	}
	r.each = func(consume func(arrow.RecordBatch) error) error {
		c.consume = consume
		var result duckdb.Result
		defer duckdb.DestroyResult(&result)
		failed := duckdb.ExecutePrepared(within.prepared, &result) == duckdb.StateError
		if err := c.firstError(); err != nil || !failed {
			return err
		}
		return within.explain(duckdb.ResultError(&result))
	}
	return r, nil
}

// A rowCallback receives the rows of one statement from DuckDB's threads.
type rowCallback struct {
	rows *rows
	name string // name of the SQL function
	pin  runtime.Pinner

	mu      sync.Mutex
	consume func(arrow.RecordBatch) error // set before the statement runs, then called with mu held
	err     error                         // first error of consume or of a conversion; guarded by mu
}

// register registers a scalar function with parameters of the given types, and reports whether DuckDB accepted it.
func (c *rowCallback) register(types []duckdb.LogicalType) bool {
	function := duckdb.CreateScalarFunction()
	defer duckdb.DestroyScalarFunction(&function)
	duckdb.ScalarFunctionSetName(function, c.name)
	duckdb.ScalarFunctionSetVolatile(function)        // DuckDB calls it for every row,
	duckdb.ScalarFunctionSetSpecialHandling(function) // also if an argument is NULL
	for _, t := range types {
		duckdb.ScalarFunctionAddParameter(function, t)
	}
	returned := duckdb.CreateLogicalType(duckdb.TypeBoolean)
	defer duckdb.DestroyLogicalType(&returned)
	duckdb.ScalarFunctionSetReturnType(function, returned)
	handle := cgo.NewHandle(c)
	c.pin.Pin(&handle) // never unpinned, because the worker's process ends with its statement
	duckdb.ScalarFunctionSetExtraInfo(function, unsafe.Pointer(&handle), nil)
	duckdb.ScalarFunctionSetFunction(function, C.voicoryTakeRows)
	return duckdb.RegisterScalarFunction(c.rows.statement.engine.conn, function) != duckdb.StateError
}

// voicoryTakeRows is the C entry point of all row callbacks. It returns false for each row. DuckDB calls it on its own
// threads, several at the same time.
//
//export voicoryTakeRows
func voicoryTakeRows(info, rows, returned unsafe.Pointer) {
	function, chunk := duckdb.FunctionInfo{Ptr: info}, duckdb.DataChunk{Ptr: rows}
	clear(unsafe.Slice((*bool)(duckdb.VectorGetData(duckdb.Vector{Ptr: returned})), duckdb.DataChunkGetSize(chunk)))
	c := (*cgo.Handle)(duckdb.ScalarFunctionGetExtraInfo(function)).Value().(*rowCallback)
	if err := c.deliver(chunk); err != nil {
		duckdb.ScalarFunctionSetError(function, "no more rows are taken") // ends the statement
	}
}

// firstError returns the first error of a delivery, or nil.
func (c *rowCallback) firstError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// deliver converts a chunk to Arrow and passes it to consume. After the first error, it only returns that error.
// Conversions run concurrently, calls of consume do not.
func (c *rowCallback) deliver(chunk duckdb.DataChunk) error {
	if err := c.firstError(); err != nil {
		return err
	}
	batch, err := c.rows.toArrow(chunk)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		defer batch.Release()
		if c.err == nil {
			err = c.consume(batch)
		}
	}
	if c.err == nil {
		c.err = err
	}
	return c.err
}
