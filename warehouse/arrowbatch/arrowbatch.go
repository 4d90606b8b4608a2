// Package arrowbatch makes Arrow record batches in canonical form: every byte of every buffer is determined by the
// values of the rows.
//
// DuckDB leaves memory uninitialised where Arrow's format leaves it undefined: in the value slots of NULLs, in bitmaps
// past the last bit, under NULL structs and lists, and in the members of a union that a row does not select. An Arrow
// IPC stream carries those bytes, and in a process that serves several tenants they are rows of another tenant. All
// batches of the program are therefore made by a [Source]; no other package converts DuckDB's chunks to Arrow.
//
// In canonical form
//   - the slot of a NULL is zero, and the text of a NULL has no bytes;
//   - a value under a NULL struct, list or array, and a member that a union does not select, is NULL itself;
//   - a value that no list refers to is NULL, and a key or an entry of a map, which cannot be NULL, is zero;
//   - a bitmap is zero past its last bit;
//   - a buffer ends with its last value.
//
// The indices of dictionaries are signed, at any depth.
package arrowbatch

import (
	"fmt"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	duckdb "github.com/duckdb/duckdb-go-bindings"
)

// A Source converts the chunks of one result of DuckDB's to batches.
type Source struct {
	Schema  *arrow.Schema // of the batches
	options duckdb.ArrowOptions
	chunks  *arrow.Schema // that DuckDB converts chunks to; Schema has signed indices instead
}

// NewSource returns a source of batches with the given columns. The caller destroys the error data, which DuckDB
// returns if Arrow has no type for a column.
func NewSource(options duckdb.ArrowOptions, types []duckdb.LogicalType, names []string) (*Source, duckdb.ErrorData) {
	chunks, fault := duckdb.NewArrowSchema(options, types, names)
	if duckdb.ErrorDataHasError(fault) {
		return nil, fault
	}
	return newSource(options, chunks), fault
}

// newSource returns a source of chunks that DuckDB converts to the given schema.
func newSource(options duckdb.ArrowOptions, chunks *arrow.Schema) *Source {
	fields, _ := signedFields(chunks.Fields())
	return &Source{Schema: arrow.NewSchema(fields, nil), options: options, chunks: chunks}
}

// Batch converts a chunk to a batch in canonical form. The caller releases the batch, and destroys the error data,
// which is DuckDB's own if DuckDB cannot convert the chunk.
func (s *Source) Batch(chunk duckdb.DataChunk) (arrow.RecordBatch, duckdb.ErrorData) {
	converted, fault := duckdb.DataChunkToArrowArray(s.options, s.chunks, chunk)
	if duckdb.ErrorDataHasError(fault) {
		return nil, fault
	}
	defer converted.Release()
	batch, err := Head(converted, converted.NumRows())
	if err != nil {
		duckdb.DestroyErrorData(&fault)
		return nil, duckdb.CreateErrorData(duckdb.ErrorTypeNotImplemented, err.Error())
	}
	defer batch.Release()
	columns := make([]arrow.Array, batch.NumCols())
	for i, column := range batch.Columns() {
		data := withType(column.Data(), s.Schema.Field(i).Type)
		columns[i] = array.MakeFromData(data)
		data.Release()
		defer columns[i].Release()
	}
	return array.NewRecordBatch(s.Schema, columns, batch.NumRows()), fault
}

// Head returns the first rows of a batch in canonical form, to be released by the caller. Unlike a slice of the batch,
// it has no bytes of the rows that follow.
//
// Head writes into the memory of batch, which must be the only user of it, and which must not be read afterwards. It
// fails if batch is a slice or has a column of a type that DuckDB does not produce.
func Head(batch arrow.RecordBatch, rows int64) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, 0, batch.NumCols())
	defer func() {
		for _, column := range columns {
			column.Release()
		}
	}()
	for i, column := range batch.Columns() {
		data, err := head(column.Data(), int(rows), nil, nullable)
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", batch.ColumnName(i), err)
		}
		if data == column.Data() {
			column.Retain()
		} else {
			column = array.MakeFromData(data)
		}
		columns = append(columns, column)
		data.Release()
	}
	return array.NewRecordBatch(batch.Schema(), columns, rows), nil
}

// A role is the relation of values to their parent array.
type role int

const (
	nullable role = iota
	mapEntry      // a struct of a key and a value, which is never NULL
	mapKey        // never NULL
)

// head returns the first n values of data in canonical form, which is data itself if only bytes had to change. A value
// whose bit in visible is zero is hidden: an ancestor of it is NULL, or no ancestor refers to it. A nil bitmap hides
// none.
func head(data arrow.ArrayData, n int, visible bitmap, as role) (arrow.ArrayData, error) {
	if data.Offset() != 0 || n > data.Len() {
		return nil, fmt.Errorf("%d of %d values from %d on: not a whole array", n, data.Len(), data.Offset())
	}
	typ := data.DataType()
	if extension, ok := typ.(arrow.ExtensionType); ok {
		typ = extension.StorageType()
	}
	p := parts{data: data, n: n}
	defer p.release()
	switch t := typ.(type) {
	case *arrow.NullType:
		p.nulls = n
		return p.whole(), nil
	case *arrow.SparseUnionType:
		if err := p.union(t, visible); err != nil {
			return nil, err
		}
		return p.whole(), nil
	}
	valid := p.validity(visible, as)
	switch t := typ.(type) {
	case *arrow.BooleanType:
		set := bitmap(p.buffer(1, bytesForBits(n)))
		set.and(valid)
		set.end(n)
	case *arrow.StringType, *arrow.BinaryType:
		offsets := p.offsets()
		if texts := data.Buffers()[2]; texts != nil {
			dropHidden(offsets, texts.Bytes(), valid)
		}
		p.buffer(2, int(offsets[n]))
	case *arrow.ListType:
		offsets := p.offsets()
		p.child(0, int(offsets[n]), elements(offsets, valid), nullable)
	case *arrow.MapType:
		offsets := p.offsets()
		p.child(0, int(offsets[n]), elements(offsets, valid), mapEntry)
	case *arrow.FixedSizeListType:
		p.child(0, n*int(t.Len()), valid.repeated(n, int(t.Len())), nullable)
	case *arrow.StructType:
		for i := range t.NumFields() {
			member := nullable
			if as == mapEntry && i == 0 {
				member = mapKey
			}
			p.child(i, n, valid, member)
		}
	case arrow.FixedWidthDataType: // of a dictionary, the indices
		width := t.BitWidth() / 8
		zeroHidden(p.buffer(1, n*width), valid, width)
		p.dictionary()
	default:
		return nil, fmt.Errorf("type %s has no canonical form", typ)
	}
	if p.err != nil {
		return nil, p.err
	}
	return p.whole(), nil
}

// parts are the buffers and children of the canonical form of the first n values of data.
type parts struct {
	data     arrow.ArrayData
	n        int
	nulls    int
	buffers  [3]*memory.Buffer // as many as data has
	children []arrow.ArrayData
	values   arrow.ArrayData // of a dictionary
	err      error           // the first of a child
}

func (p *parts) release() {
	memory.ReleaseBuffers(p.buffers[:])
	for _, child := range p.children {
		child.Release()
	}
	if p.values != nil {
		p.values.Release()
	}
}

// whole returns the array that consists of the parts. It is data itself if all parts are those of data.
func (p *parts) whole() arrow.ArrayData {
	buffers := p.buffers[:len(p.data.Buffers())]
	if p.n == p.data.Len() && p.nulls == p.data.NullN() && slices.Equal(buffers, p.data.Buffers()) &&
		slices.Equal(p.children, p.data.Children()) && (p.values == nil || p.values == p.data.Dictionary()) {
		p.data.Retain()
		return p.data
	}
	if p.values != nil {
		return array.NewDataWithDictionary(p.data.DataType(), p.n, buffers, p.nulls, 0, p.values.(*array.Data))
	}
	return array.NewData(p.data.DataType(), p.n, buffers, p.children, p.nulls, 0)
}

// validity sets the bitmap of the values that are neither NULL nor hidden, and returns it. It returns nil if no value
// is NULL or hidden. Values that cannot be NULL have no bitmap; validity then returns visible.
func (p *parts) validity(visible bitmap, as role) bitmap {
	if as != nullable {
		return visible
	}
	if own := p.data.Buffers()[0]; own != nil && own.Len() > 0 {
		valid := bitmap(p.buffer(0, bytesForBits(p.n)))
		valid.and(visible)
		valid.end(p.n)
		if p.nulls = p.n - valid.count(); p.nulls == 0 {
			return nil
		}
		return valid
	}
	if p.nulls = p.n - visible.ones(p.n); p.nulls > 0 {
		p.buffers[0] = memory.NewBufferBytes(append([]byte(nil), visible...))
		return visible
	}
	return nil
}

// buffer sets the i-th buffer of the parts to the first size bytes of the i-th buffer of data, and returns these bytes.
func (p *parts) buffer(i, size int) []byte {
	buffer := p.data.Buffers()[i]
	switch {
	case buffer != nil && size == buffer.Len():
		buffer.Retain()
	case size > 0:
		buffer = memory.SliceBuffer(buffer, 0, size)
	default:
		buffer = memory.NewBufferBytes([]byte{})
	}
	p.buffers[i] = buffer
	return buffer.Bytes()
}

// offsets sets the n+1 offsets of values of different lengths, and returns them.
func (p *parts) offsets() []int32 {
	if p.n == 0 { // there may be no buffer
		p.buffers[1] = memory.NewBufferBytes(make([]byte, arrow.Int32SizeBytes))
		return []int32{0}
	}
	return cast[int32](p.buffer(1, (p.n+1)*arrow.Int32SizeBytes))
}

// child adds the first n values of the i-th child, unless there was an error.
func (p *parts) child(i, n int, visible bitmap, as role) {
	if p.err != nil {
		return
	}
	child, err := head(p.data.Children()[i], n, visible, as)
	if p.err = err; err == nil {
		p.children = append(p.children, child)
	}
}

// dictionary sets the values of the dictionary, if there is one.
func (p *parts) dictionary() {
	if p.data.DataType().ID() == arrow.DICTIONARY {
		p.values, p.err = head(p.data.Dictionary(), p.data.Dictionary().Len(), nil, nullable)
	}
}

// union sets the members of a sparse union: each member has a value for every row, and each row selects one of them.
func (p *parts) union(t *arrow.SparseUnionType, visible bitmap) error {
	codes := p.buffer(1, p.n)
	first := byte(t.TypeCodes()[0])
	visible.eachHidden(p.n, func(i int) { codes[i] = first })
	for member, code := range t.TypeCodes() {
		selected := newBitmap(p.n)
		for i, c := range codes {
			if c == byte(code) {
				selected[i/8] |= 1 << (i % 8)
			}
		}
		selected.and(visible)
		p.child(member, p.n, selected, nullable)
	}
	return p.err
}

// dropHidden removes the bytes of hidden texts, and moves the bytes of the other texts together.
func dropHidden(offsets []int32, bytes []byte, valid bitmap) {
	if !anyHidden(offsets, valid) {
		return
	}
	n, end := len(offsets)-1, int32(0)
	for i := range n {
		from, to := offsets[i], offsets[i+1]
		offsets[i] = end
		if valid.has(i) {
			end += int32(copy(bytes[end:], bytes[from:to]))
		}
	}
	offsets[n] = end
}

// anyHidden reports whether the array that the offsets point into has bytes or elements before the first value, or in a
// hidden value.
func anyHidden(offsets []int32, valid bitmap) bool {
	n, size := len(offsets)-1, offsets[0]
	for from := 0; from < n && valid != nil; from += wordBits {
		some := offsets[from : min(from+wordBits, n)+1]
		switch hidden := ^valid.word(from); hidden {
		case 0:
		case allOnes:
			size |= some[len(some)-1] - some[0]
		default:
			for ; hidden != 0; hidden &= hidden - 1 {
				if i := bits.TrailingZeros64(hidden); i < len(some)-1 {
					size |= some[i+1] - some[i]
				}
			}
		}
	}
	return size != 0
}

// elements returns a bitmap of the elements that belong to a list that is not hidden, or nil if all elements do.
func elements(offsets []int32, valid bitmap) bitmap {
	if !anyHidden(offsets, valid) {
		return nil
	}
	n := len(offsets) - 1
	visible := newBitmap(int(offsets[n]))
	for i := range n {
		if valid.has(i) {
			visible.set(int(offsets[i]), int(offsets[i+1]))
		}
	}
	return visible
}

// zeroHidden sets hidden values to zero. Each value has width bytes.
func zeroHidden(values []byte, valid bitmap, width int) {
	switch width {
	case 1:
		zero(values, valid)
	case 2:
		zero(cast[uint16](values), valid)
	case 4:
		zero(cast[uint32](values), valid)
	case 8:
		zero(cast[uint64](values), valid)
	case 16:
		zero(cast[[2]uint64](values), valid)
	default:
		valid.eachHidden(len(values)/width, func(i int) { clear(values[i*width : (i+1)*width]) })
	}
}

// zero is zeroHidden for values of type T, a word of the bitmap at a time.
func zero[T any](values []T, valid bitmap) {
	var none T
	for from := 0; from < len(values) && valid != nil; from += wordBits {
		some := values[from:min(from+wordBits, len(values))]
		switch hidden := ^valid.word(from); hidden {
		case 0:
		case allOnes:
			clear(some)
		default:
			for ; hidden != 0; hidden &= hidden - 1 {
				if i := bits.TrailingZeros64(hidden); i < len(some) {
					some[i] = none
				}
			}
		}
	}
}

// cast returns bytes as values of T, in the machine's byte order.
func cast[T any](bytes []byte) []T {
	var value T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(bytes))), len(bytes)/int(unsafe.Sizeof(value)))
}
