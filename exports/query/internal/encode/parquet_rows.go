package encode

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"
)

// A shredder appends the values of one array, or the absence of a value, to the columns of a Parquet row. Each value
// has the two levels of the Parquet format. The definition level counts the optional and repeated parents that are
// present. The repetition level is the depth of the list that the value continues, or 0 if it begins a row.
type shredder struct {
	value  func(i, repetition, definition int) // appends value i
	absent func(repetition, definition int)    // appends that a parent is NULL or empty, to every column
}

// A parquetRow holds the values of a row while it is shredded.
type parquetRow struct {
	columns [][]parquet.Value // by column
	next    int               // index of the next column of a shredder
}

// optional returns the shredder of an array whose values can be NULL.
func (r *parquetRow) optional(values arrow.Array, t *Type, depth int) shredder {
	s := r.required(values, t, depth)
	isNull := nullsOf(values)
	return shredder{absent: s.absent, value: func(i, repetition, definition int) {
		if isNull(i) {
			s.absent(repetition, definition)
		} else {
			s.value(i, repetition, definition+1)
		}
	}}
}

// nullsOf returns a function that reports whether value i of an array is NULL. A UNION is NULL if its member is.
func nullsOf(values arrow.Array) func(i int) bool {
	union, ok := values.(*array.SparseUnion)
	if !ok {
		return values.IsNull
	}
	members := make([]func(int) bool, union.NumFields())
	for i := range members {
		members[i] = nullsOf(union.Field(i))
	}
	return func(i int) bool { return members[union.ChildID(i)](i) }
}

// required returns the shredder of an array without NULLs. depth is the number of lists that contain it.
func (r *parquetRow) required(values arrow.Array, t *Type, depth int) shredder {
	switch v := values.(type) {
	case *array.Map:
		key := r.required(v.Keys(), t.Members[0].Type, depth+1)
		item := r.optional(v.Items(), t.Members[1].Type, depth+1)
		return repeated(v, depth+1, key, item)
	case array.ListLike:
		return repeated(v, depth+1, r.optional(v.ListValues(), t.Members[0].Type, depth+1))
	case *array.Struct:
		members := make([]shredder, v.NumField())
		for i := range members {
			members[i] = r.optional(v.Field(i), t.Members[i].Type, depth)
		}
		return all(members)
	}
	column := r.next
	r.next++
	_, leaf := parquetScalar(t, values.DataType())
	value := leaf(values)
	add := func(v parquet.Value, repetition, definition int) {
		r.columns[column] = append(r.columns[column], v.Level(repetition, definition, column))
	}
	return shredder{
		value:  func(i, repetition, definition int) { add(value(i), repetition, definition) },
		absent: func(repetition, definition int) { add(parquet.NullValue(), repetition, definition) },
	}
}

// all returns the shredder of values that consist of members.
func all(members []shredder) shredder {
	return shredder{
		value: func(i, repetition, definition int) {
			for _, m := range members {
				m.value(i, repetition, definition)
			}
		},
		absent: func(repetition, definition int) {
			for _, m := range members {
				m.absent(repetition, definition)
			}
		},
	}
}

// repeated returns the shredder of lists at the given depth, from 1. Their elements consist of members.
func repeated(lists array.ListLike, depth int, members ...shredder) shredder {
	element := all(members)
	return shredder{absent: element.absent, value: func(i, repetition, definition int) {
		start, end := lists.ValueOffsets(i)
		if start == end {
			element.absent(repetition, definition)
		}
		for j := start; j < end; j++ {
			element.value(int(j), repetition, definition+1)
			repetition = depth
		}
	}}
}
