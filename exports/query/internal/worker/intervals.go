package worker

import (
	"math"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/exports/query/internal/encode"
)

// An interval is an INTERVAL in DuckDB's memory.
type interval struct {
	months, days int32
	micros       int64
}

// maxIntervalMicros is the greatest time of an INTERVAL that Arrow can hold, in microseconds: 292 years. Arrow counts
// nanoseconds, and DuckDB's conversion to Arrow wraps longer times around without an error.
const maxIntervalMicros = math.MaxInt64 / 1000

// intervalsFit reports whether Arrow can hold each INTERVAL in the first n values of a vector of type t, at any depth.
func intervalsFit(vector duckdb.Vector, t *encode.Type, n duckdb.IdxT) bool {
	if !t.Contains("INTERVAL") {
		return true
	}
	member := func(of duckdb.Vector, place, i int, n duckdb.IdxT) bool {
		return intervalsFit(duckdb.StructVectorGetChild(of, duckdb.IdxT(place)), t.Members[i].Type, n)
	}
	switch t.ID {
	case "INTERVAL":
		valid := duckdb.VectorGetValidity(vector)
		for i, v := range unsafe.Slice((*interval)(duckdb.VectorGetData(vector)), n) {
			if (v.micros > maxIntervalMicros || v.micros < -maxIntervalMicros) &&
				(valid == nil || duckdb.ValidityRowIsValid(valid, duckdb.IdxT(i))) {
				return false
			}
		}
	case "LIST":
		return intervalsFit(duckdb.ListVectorGetChild(vector), t.Members[0].Type, duckdb.ListVectorGetSize(vector))
	case "ARRAY":
		return intervalsFit(duckdb.ArrayVectorGetChild(vector), t.Members[0].Type, n*duckdb.IdxT(t.Size))
	case "MAP": // a list of structs
		entries, size := duckdb.ListVectorGetChild(vector), duckdb.ListVectorGetSize(vector)
		return member(entries, 0, 0, size) && member(entries, 1, 1, size)
	case "STRUCT":
		for i := range t.Members {
			if !member(vector, i, i, n) {
				return false
			}
		}
	case "UNION": // a struct with the tag of the member as its first part
		for i := range t.Members {
			if !member(vector, i+1, i, n) {
				return false
			}
		}
	}
	return true
}
