package duckdb

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"unsafe"

	bindings "github.com/duckdb/duckdb-go-bindings"
)

// A Chunk is a part of the rows of a result, column by column.
type Chunk struct {
	Rows int

	columns int
	result  *bindings.Result
	chunk   bindings.DataChunk
}

// A Column has the values of a column of a chunk. They are in the memory of DuckDB and are valid as long as the chunk.
// The value of NULL is undefined.
type Column[T any] struct {
	Values []T

	validity []uint64 // a bit per row; nil: no NULL
}

// Valid reports whether the value of a row is not NULL.
func (c Column[T]) Valid(row int) bool {
	return c.validity == nil || c.validity[row/64]>>(row%64)&1 == 1
}

// The values of columns as DuckDB stores them. Values of the types BIGINT and BOOLEAN are int64 and bool.
type (
	// UUID is a value of the type UUID.
	UUID struct{ lower, upper uint64 }
	// Text is a value of the type VARCHAR.
	Text [16]byte
)

// Bytes returns the bytes of the UUID. DuckDB flips the highest bit, so that UUIDs are ordered like signed numbers.
func (u UUID) Bytes() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], u.upper^1<<63)
	binary.BigEndian.PutUint64(id[8:], u.lower)
	return id
}

// Bytes returns the bytes of the text, without a copy.
func (t *Text) Bytes() []byte {
	size := *(*uint32)(unsafe.Pointer(t))
	if size <= inlineText {
		return t[4 : 4+size]
	}
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&t[8])), size)
}

// A ColumnReader returns the columns of a chunk one after another.
type ColumnReader struct {
	Chunk *Chunk
	Err   error // the first one

	next int
}

// Next sets the next column. If it is not of the type T, Next sets the error of the reader.
func Next[T int64 | bool | UUID | Text](r *ColumnReader, column *Column[T]) {
	if r.Err != nil {
		return
	}
	c, index := r.Chunk, bindings.IdxT(r.next)
	want := map[any]bindings.Type{int64(0): bindings.TypeBigInt, false: bindings.TypeBoolean,
		UUID{}: bindings.TypeUUID, Text{}: bindings.TypeVarchar}[*new(T)]
	if r.next >= c.columns || bindings.ColumnType(c.result, index) != want {
		r.Err = fmt.Errorf("column %d is not of the type %T", r.next, *new(T))
		return
	}
	r.next++
	vector := bindings.DataChunkGetVector(c.chunk, index)
	column.Values = unsafe.Slice((*T)(bindings.VectorGetData(vector)), c.Rows)
	if validity := bindings.VectorGetValidity(vector); validity != nil {
		column.validity = unsafe.Slice((*uint64)(validity), (c.Rows+63)/64)
	}
}

// Scan executes a query and calls each with the chunks of its rows, one after another.
func Scan(ctx context.Context, conn *sql.Conn, query string, each func(*Chunk) error) error {
	return withPrepared(ctx, conn, query, func(result *bindings.Result) error { return eachChunk(result, each) })
}

// eachChunk calls each with the chunks of a result.
func eachChunk(result *bindings.Result, each func(*Chunk) error) error {
	columns := int(bindings.ColumnCount(result))
	for {
		chunk := bindings.FetchChunk(*result)
		if chunk.Ptr == nil {
			return nil
		}
		err := each(&Chunk{Rows: int(bindings.DataChunkGetSize(chunk)), columns: columns, result: result, chunk: chunk})
		bindings.DestroyDataChunk(&chunk)
		if err != nil {
			return err
		}
	}
}
