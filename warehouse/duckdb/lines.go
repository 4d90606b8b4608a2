package duckdb

/*
#include <stdlib.h>

void lines_bind(void *info);
void lines_init(void *info);
void lines_local_init(void *info);
void lines_next(void *info, void *chunk);
void lines_delete(void *scan);
*/
import "C"

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	bindings "github.com/duckdb/duckdb-go-bindings"
)

// A LineSource is a relation of the lines of one reader after another, with the columns line, text, defect and tenant.
// A statement over it can be prepared, because its name is constant. DuckDB would plan a statement over a view of Arrow
// data at each execution.
//
// The relation is a call of the table function lines with the number of the source. It copies no text: the vectors
// point into the records. DuckDB's threads need a record until they ask for the next one. The function allocates no
// memory of DuckDB, because its C API ends the process if the memory limit is reached there.
type LineSource struct {
	Relation string

	number int64

	mu     sync.Mutex
	reader array.RecordReader  // nil: no lines; guarded by mu
	ahead  []arrow.RecordBatch // records that were read when the statement began; guarded by mu
	tenant string              // of all lines, outside of the Go heap; "": the lines name their tenants
}

// lineSources are the sources that exist, by number.
var (
	lineSources    sync.Map
	lastLineSource atomic.Int64
)

// NewLineSource returns a source. The caller calls Drop.
func NewLineSource() *LineSource {
	s := &LineSource{number: lastLineSource.Add(1)}
	s.Relation = fmt.Sprintf("lines(%d)", s.number)
	lineSources.Store(s.number, s)
	return s
}

// Drop removes the source. No statement may use it.
func (s *LineSource) Drop() { lineSources.Delete(s.number) }

// Open sets the reader of the lines, with the columns line (int64), text and defect (string), and the tenant of all
// lines, or "". DuckDB's threads call the reader, one at a time. Its buffers must be outside of the Go heap. The caller
// calls Close before it releases the reader.
func (s *LineSource) Open(reader array.RecordReader, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader, s.tenant = reader, ""
	if tenant != "" {
		s.tenant = unsafe.String((*byte)(unsafe.Pointer(C.CString(tenant))), len(tenant))
	}
}

// Close removes the reader. No statement may use the source at the same time.
func (s *LineSource) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, record := range s.ahead {
		record.Release()
	}
	if s.tenant != "" {
		C.free(unsafe.Pointer(unsafe.StringData(s.tenant)))
	}
	s.reader, s.ahead, s.tenant = nil, nil, ""
}

// begin reads records ahead, and returns the number of threads that have work: one if there is only one record.
func (s *LineSource) begin() (threads int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader == nil {
		return 0, errors.New("the source of lines has no reader")
	}
	for len(s.ahead) < 2 && s.reader.Next() {
		record := s.reader.RecordBatch()
		record.Retain()
		s.ahead = append(s.ahead, record)
	}
	if len(s.ahead) < 2 {
		return 1, nil
	}
	return runtime.GOMAXPROCS(0), nil
}

// next returns the next record, which the caller releases, or nil at the end.
func (s *LineSource) next() (arrow.RecordBatch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ahead) > 0 {
		record := s.ahead[0]
		s.ahead = s.ahead[1:]
		return record, nil
	}
	if s.reader == nil || !s.reader.Next() {
		return nil, s.err()
	}
	record := s.reader.RecordBatch()
	record.Retain()
	return record, nil
}

// err returns the error that ended the reading early, if any. The caller holds mu.
func (s *LineSource) err() error {
	if s.reader == nil {
		return errors.New("the source of lines has no reader")
	}
	return s.reader.Err()
}

// A lineScan is the state of one of DuckDB's threads that reads a source.
type lineScan struct {
	source *LineSource
	record arrow.RecordBatch // current record; nil: none
	row    int               // next row of the record
}

// fill writes the next lines to a chunk. At the end, it writes none.
func (s *lineScan) fill(chunk bindings.DataChunk) error {
	for s.record == nil || s.row == int(s.record.NumRows()) {
		s.release()
		record, err := s.source.next()
		if record == nil {
			return err
		}
		s.record, s.row = record, 0
	}
	count := min(int(s.record.NumRows())-s.row, int(bindings.VectorSize()))
	vector := func(column int) bindings.Vector { return bindings.DataChunkGetVector(chunk, bindings.IdxT(column)) }
	lines := s.record.Column(0).(*array.Int64).Int64Values()[s.row : s.row+count]
	copy(unsafe.Slice((*int64)(bindings.VectorGetData(vector(0))), count), lines)
	for column := 1; column <= 2; column++ {
		values := s.record.Column(column).(*array.String)
		fillTexts(vector(column), count, func(row int) (string, bool) {
			return values.Value(s.row + row), values.IsValid(s.row + row)
		})
	}
	fillTexts(vector(3), count, func(int) (string, bool) { return s.source.tenant, s.source.tenant != "" })
	bindings.DataChunkSetSize(chunk, bindings.IdxT(count))
	s.row += count
	return nil
}

// release releases the current record.
func (s *lineScan) release() {
	if s.record != nil {
		s.record.Release()
		s.record = nil
	}
}

// inlineText is the length of the longest text that DuckDB stores in a vector itself.
const inlineText = 12

// fillTexts sets the first texts of a vector. A text that is not inline stays where it is: the vector points to it.
func fillTexts(vector bindings.Vector, count int, value func(row int) (text string, valid bool)) {
	texts := unsafe.Slice((*[16]byte)(bindings.VectorGetData(vector)), count)
	bindings.VectorEnsureValidityWritable(vector)
	validity := unsafe.Slice((*uint64)(bindings.VectorGetValidity(vector)), (count+63)/64)
	for row := range texts {
		text, valid := value(row)
		if !valid {
			validity[row/64] &^= 1 << (row % 64)
			continue
		}
		target := &texts[row]
		*(*uint32)(unsafe.Pointer(&target[0])) = uint32(len(text))
		if len(text) <= inlineText {
			clear(target[4+copy(target[4:], text):])
			continue
		}
		copy(target[4:8], text)
		*(*uintptr)(unsafe.Pointer(&target[8])) = uintptr(unsafe.Pointer(unsafe.StringData(text)))
	}
}

// addLines adds the table function lines(BIGINT), which returns the lines of a LineSource.
func addLines(ctx context.Context, conn *sql.Conn) error {
	return withRaw(ctx, conn, func(own bindings.Connection) error {
		number := bindings.CreateLogicalType(bindings.TypeBigInt)
		defer bindings.DestroyLogicalType(&number)
		function := bindings.CreateTableFunction()
		defer bindings.DestroyTableFunction(&function)
		bindings.TableFunctionSetName(function, "lines")
		bindings.TableFunctionAddParameter(function, number)
		bindings.TableFunctionSetBind(function, C.lines_bind)
		bindings.TableFunctionSetInit(function, C.lines_init)
		bindings.TableFunctionSetLocalInit(function, C.lines_local_init)
		bindings.TableFunctionSetFunction(function, C.lines_next)
		if bindings.RegisterTableFunction(own, function) == bindings.StateError {
			return errors.New("add the function lines")
		}
		return nil
	})
}

// lines_bind sets the columns of a call of the function, and keeps the number of its source.
//
//export lines_bind
func lines_bind(pointer unsafe.Pointer) {
	info := bindings.BindInfo{Ptr: pointer}
	value := bindings.BindGetParameter(info, 0)
	defer bindings.DestroyValue(&value)
	number := bindings.GetInt64(value)
	if _, exists := lineSources.Load(number); !exists {
		bindings.BindSetError(info, fmt.Sprintf("the source of lines %d does not exist", number))
		return
	}
	integer, text := bindings.CreateLogicalType(bindings.TypeBigInt), bindings.CreateLogicalType(bindings.TypeVarchar)
	defer bindings.DestroyLogicalType(&integer)
	defer bindings.DestroyLogicalType(&text)
	bindings.BindAddResultColumn(info, "line", integer)
	for _, name := range []string{"text", "defect", "tenant"} {
		bindings.BindAddResultColumn(info, name, text)
	}
	kept := C.malloc(C.size_t(unsafe.Sizeof(number)))
	*(*int64)(kept) = number
	bindings.BindSetBindData(info, kept, C.free)
}

// boundSource returns the source of a call that lines_bind has bound.
func boundSource(info bindings.InitInfo) (*LineSource, error) {
	number := *(*int64)(bindings.InitGetBindData(info))
	source, exists := lineSources.Load(number)
	if !exists {
		return nil, fmt.Errorf("the source of lines %d was dropped", number)
	}
	return source.(*LineSource), nil
}

// lines_init begins an execution.
//
//export lines_init
func lines_init(pointer unsafe.Pointer) {
	info := bindings.InitInfo{Ptr: pointer}
	source, err := boundSource(info)
	threads := 0
	if err == nil {
		threads, err = source.begin()
	}
	if err != nil {
		bindings.InitSetError(info, err.Error())
		return
	}
	bindings.InitSetMaxThreads(info, bindings.IdxT(threads))
}

// lines_local_init begins the scan of a thread.
//
//export lines_local_init
func lines_local_init(pointer unsafe.Pointer) {
	info := bindings.InitInfo{Ptr: pointer}
	source, err := boundSource(info)
	if err != nil {
		bindings.InitSetError(info, err.Error())
		return
	}
	scan := C.malloc(C.size_t(unsafe.Sizeof(cgo.Handle(0))))
	*(*cgo.Handle)(scan) = cgo.NewHandle(&lineScan{source: source})
	bindings.InitSetInitData(info, scan, C.lines_delete)
}

// lines_next writes the next lines of a thread to a chunk.
//
//export lines_next
func lines_next(pointer, chunk unsafe.Pointer) {
	info := bindings.FunctionInfo{Ptr: pointer}
	scan := (*cgo.Handle)(bindings.FunctionGetLocalInitData(info)).Value().(*lineScan)
	if err := scan.fill(bindings.DataChunk{Ptr: chunk}); err != nil {
		bindings.FunctionSetError(info, err.Error())
	}
}

// lines_delete ends the scan of a thread.
//
//export lines_delete
func lines_delete(pointer unsafe.Pointer) {
	handle := *(*cgo.Handle)(pointer)
	handle.Value().(*lineScan).release()
	handle.Delete()
	C.free(pointer)
}
