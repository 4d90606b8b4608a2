package query

/*
void voicoryTakeRows(void *info, void *rows, void *taken);
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

// push prepares the statement to deliver its rows by a callback, in no order: the threads that make rows call a
// function of the program with each chunk. So no chunk is copied, and no thread waits until its chunk is fetched.
// push returns nil if the statement cannot run so: it must not stand within another statement, or it has parameters,
// on whose values the types of its columns may depend.
//
// The user's statement cannot call the function, whose name is not on the allow list.
func (s *statement) push() (*rows, error) {
	if s.alone || duckdb.NParams(s.prepared) > 0 {
		return nil, nil
	}
	var names, numbered []string
	var types []duckdb.LogicalType
	for i := range duckdb.PreparedStatementColumnCount(s.prepared) {
		names, types = append(names, duckdb.PreparedStatementColumnName(s.prepared, i)), append(types, duckdb.PreparedStatementColumnLogicalType(s.prepared, i))
		numbered = append(numbered, fmt.Sprintf("c%d", i)) // names can be there twice
	}
	var options duckdb.ArrowOptions
	duckdb.ConnectionGetArrowOptions(s.engine.conn, &options)
	r, err := s.rows(options, names, types)
	if err != nil {
		return nil, err
	}
	p := &pushed{rows: r, name: "take_rows_" + rand.Text()} // no two of them may have the same name
	if !p.register(types) {
		return nil, nil
	}
	const before = "FROM ("
	all := strings.Join(numbered, ", ")
	within := &statement{engine: s.engine, text: s.text, before: len(before)}
	// An aggregate over the function, since a filter may be moved into what it filters.
	if duckdb.Prepare(s.engine.conn, before+strings.TrimRight(s.text, "; \t\r\n")+"\n) AS made("+all+") SELECT max("+p.name+"("+all+"))", &within.prepared) == duckdb.StateError {
		return nil, nil
	}
	r.each = func(take func(arrow.RecordBatch) error) error {
		p.take = take
		var result duckdb.Result
		defer duckdb.DestroyResult(&result)
		failed := duckdb.ExecutePrepared(within.prepared, &result) == duckdb.StateError
		if err := p.ended(); err != nil || !failed {
			return err
		}
		return within.explain(duckdb.ResultError(&result))
	}
	return r, nil
}

// pushed are rows that are handed over by the threads that make them.
type pushed struct {
	rows *rows
	name string // of the function that takes them
	pin  runtime.Pinner

	take func(arrow.RecordBatch) error // set before the statement runs; guarded by mu from then on
	mu   sync.Mutex
	err  error // of take or of a conversion; the first one ends the statement
}

// register makes the function that takes rows with columns of these types, and tells whether DuckDB would have it.
func (p *pushed) register(types []duckdb.LogicalType) bool {
	function := duckdb.CreateScalarFunction()
	defer duckdb.DestroyScalarFunction(&function)
	duckdb.ScalarFunctionSetName(function, p.name)
	duckdb.ScalarFunctionSetVolatile(function)        // it is called for every row,
	duckdb.ScalarFunctionSetSpecialHandling(function) // also where one is NULL
	for _, t := range types {
		duckdb.ScalarFunctionAddParameter(function, t)
	}
	taken := duckdb.CreateLogicalType(duckdb.TypeBoolean)
	defer duckdb.DestroyLogicalType(&taken)
	duckdb.ScalarFunctionSetReturnType(function, taken)
	handle := cgo.NewHandle(p)
	p.pin.Pin(&handle) // as long as the process lives
	duckdb.ScalarFunctionSetExtraInfo(function, unsafe.Pointer(&handle), nil)
	duckdb.ScalarFunctionSetFunction(function, C.voicoryTakeRows)
	return duckdb.RegisterScalarFunction(p.rows.statement.engine.conn, function) != duckdb.StateError
}

//export voicoryTakeRows
func voicoryTakeRows(info, rows, taken unsafe.Pointer) {
	function, chunk := duckdb.FunctionInfo{Ptr: info}, duckdb.DataChunk{Ptr: rows}
	clear(unsafe.Slice((*bool)(duckdb.VectorGetData(duckdb.Vector{Ptr: taken})), duckdb.DataChunkGetSize(chunk)))
	p := (*cgo.Handle)(duckdb.ScalarFunctionGetExtraInfo(function)).Value().(*pushed)
	if err := p.hand(chunk); err != nil {
		duckdb.ScalarFunctionSetError(function, "no more rows are taken") // by which DuckDB ends the statement
	}
}

// ended returns the error that has ended the rows, or nil.
func (p *pushed) ended() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// hand hands a chunk over, unless none are taken.
func (p *pushed) hand(chunk duckdb.DataChunk) error {
	if err := p.ended(); err != nil {
		return err
	}
	batch, err := p.rows.converted(chunk)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		defer batch.Release()
		if p.err == nil {
			err = p.take(batch)
		}
	}
	if p.err == nil {
		p.err = err
	}
	return p.err
}
