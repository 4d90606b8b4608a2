package encode

import (
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// A parquetLeaf is the conversion of an array to the values of a Parquet column. It returns a function that returns
// value i, which is not NULL.
type parquetLeaf func(values arrow.Array) func(i int) parquet.Value

// parquetNode returns the Parquet type of values of type t, which Arrow holds as typ.
func parquetNode(t *Type, typ arrow.DataType) parquet.Node {
	switch a := typ.(type) {
	case *arrow.MapType:
		return parquet.Map(parquetNode(t.Members[0].Type, a.KeyType()), optionalNode(t.Members[1].Type, a.ItemType()))
	case arrow.ListLikeType:
		return parquet.List(optionalNode(t.Members[0].Type, a.Elem()))
	case *arrow.StructType:
		group := orderedGroup{Group: parquet.Group{}}
		for i, field := range a.Fields() { // the names are unique
			group.add(field.Name, optionalNode(t.Members[i].Type, field.Type))
		}
		return group
	}
	node, _ := parquetScalar(t, typ)
	switch of := node.Type(); of.Kind() {
	case parquet.ByteArray:
		node = parquet.Leaf(boundedTexts{of})
	case parquet.FixedLenByteArray:
		node = parquet.Leaf(signedDecimals{of})
	}
	return parquet.Compressed(parquet.Encoded(node, &parquet.Plain), &zstd.Codec{Level: zstd.SpeedFastest})
}

// optionalNode returns the Parquet type of values that can be NULL.
func optionalNode(t *Type, typ arrow.DataType) parquet.Node {
	return parquet.Optional(parquetNode(t, typ))
}

// An orderedGroup is a parquet.Group that keeps the order of its fields.
type orderedGroup struct {
	parquet.Group
	order []string
}

func (g *orderedGroup) add(name string, node parquet.Node) {
	g.Group[name] = node
	g.order = append(g.order, name)
}

func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.order, a.Name()) - slices.Index(g.order, b.Name())
	})
	return fields
}

// parquetScalar returns the Parquet type of values that are one column, and their conversion. Types that Parquet lacks
// are text as in JSON results.
func parquetScalar(t *Type, typ arrow.DataType) (parquet.Node, parquetLeaf) {
	switch a := typ.(type) {
	case *arrow.BooleanType:
		return parquet.Leaf(parquet.BooleanType), leafOf(func(v *array.Boolean, i int) parquet.Value {
			return parquet.BooleanValue(v.Value(i))
		})
	case *arrow.Int8Type:
		return parquet.Int(8), leafOf(func(v *array.Int8, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Int16Type:
		return parquet.Int(16), leafOf(func(v *array.Int16, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Int32Type:
		return parquet.Int(32), leafOf(func(v *array.Int32, i int) parquet.Value { return parquet.Int32Value(v.Value(i)) })
	case *arrow.Int64Type:
		return parquet.Int(64), leafOf(func(v *array.Int64, i int) parquet.Value { return parquet.Int64Value(v.Value(i)) })
	case *arrow.Uint8Type:
		return parquet.Uint(8), leafOf(func(v *array.Uint8, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint16Type:
		return parquet.Uint(16), leafOf(func(v *array.Uint16, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint32Type:
		return parquet.Uint(32), leafOf(func(v *array.Uint32, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint64Type:
		return parquet.Uint(64), leafOf(func(v *array.Uint64, i int) parquet.Value {
			return parquet.Int64Value(int64(v.Value(i)))
		})
	case *arrow.Float32Type:
		return parquet.Leaf(parquet.FloatType), leafOf(func(v *array.Float32, i int) parquet.Value {
			return parquet.FloatValue(v.Value(i))
		})
	case *arrow.Float64Type:
		return parquet.Leaf(parquet.DoubleType), leafOf(func(v *array.Float64, i int) parquet.Value {
			return parquet.DoubleValue(v.Value(i))
		})
	case *arrow.Decimal128Type:
		return parquetDecimal(a)
	case *arrow.BinaryType:
		return parquet.Leaf(parquet.ByteArrayType), leafOf(func(v *array.Binary, i int) parquet.Value {
			return parquet.ByteArrayValue(v.Value(i))
		})
	case *arrow.StringType:
		text := leafOf(func(v *array.String, i int) parquet.Value { return parquet.ByteArrayValue(bytesOf(v.Value(i))) })
		if t.ID == typeJSON {
			return parquet.JSON(), text
		}
		return parquet.String(), text
	case *arrow.DictionaryType: // an ENUM
		return parquet.String(), leafOf(func(v *array.Dictionary, i int) parquet.Value {
			return parquet.ByteArrayValue(bytesOf(v.Dictionary().(*array.String).Value(v.GetValueIndex(i))))
		})
	case *arrow.SparseUnionType:
		return parquet.JSON(), func(values arrow.Array) func(int) parquet.Value {
			document := nonNullAppender(values, t)
			return func(i int) parquet.Value { return parquet.ByteArrayValue(document(nil, i)) }
		}
	}
	if node, leaf := parquetTime(typ); node != nil {
		return node, leaf
	}
	return parquet.String(), func(values arrow.Array) func(int) parquet.Value { // an INTERVAL
		text := nonNullAppender(values, t)
		return func(i int) parquet.Value {
			quoted := text(nil, i)
			return parquet.ByteArrayValue(quoted[1 : len(quoted)-1])
		}
	}
}

// parquetTime returns the Parquet type of dates, times and timestamps, and their conversion. It returns nil for other
// types.
func parquetTime(typ arrow.DataType) (parquet.Node, parquetLeaf) {
	switch a := typ.(type) {
	case *arrow.Date32Type:
		return parquet.Date(), leafOf(func(v *array.Date32, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Time64Type:
		unit, _ := parquetUnit(a.Unit)
		return parquet.TimeAdjusted(unit, false), leafOf(func(v *array.Time64, i int) parquet.Value {
			return parquet.Int64Value(int64(v.Value(i)))
		})
	case *arrow.TimestampType:
		unit, scale := parquetUnit(a.Unit)
		return parquet.TimestampAdjusted(unit, a.TimeZone != ""), leafOf(func(v *array.Timestamp, i int) parquet.Value {
			n := v.Value(i)
			if !isInfinite(n) {
				n *= scale
			}
			return parquet.Int64Value(int64(n))
		})
	}
	return nil, nil
}

// parquetUnit returns the Parquet unit of times, and the number of them in a unit of Arrow's. Seconds become
// milliseconds, because Parquet has no unit of seconds.
func parquetUnit(unit arrow.TimeUnit) (of parquet.TimeUnit, scale arrow.Timestamp) {
	switch unit {
	case arrow.Nanosecond:
		return parquet.Nanosecond, 1
	case arrow.Microsecond:
		return parquet.Microsecond, 1
	case arrow.Millisecond:
		return parquet.Millisecond, 1
	}
	return parquet.Millisecond, 1000
}

// Maximum digits of a DECIMAL by its physical type in Parquet. A HUGEINT is a DECIMAL(38,0), as sums of integers are.
const (
	inInt32       = 9
	inInt64       = 18
	hugeIntDigits = 38
)

// parquetDecimal returns the Parquet type of decimals, and their conversion.
func parquetDecimal(t *arrow.Decimal128Type) (parquet.Node, parquetLeaf) {
	node := func(typ parquet.Type) parquet.Node { return parquet.Decimal(int(t.Scale), int(t.Precision), typ) }
	switch {
	case t.Precision <= inInt32:
		return node(parquet.Int32Type), leafOf(func(v *array.Decimal128, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i).LowBits()))
		})
	case t.Precision <= inInt64:
		return node(parquet.Int64Type), leafOf(func(v *array.Decimal128, i int) parquet.Value {
			return parquet.Int64Value(int64(v.Value(i).LowBits()))
		})
	}
	return node(parquet.FixedLenByteArrayType(16)), leafOf(func(v *array.Decimal128, i int) parquet.Value {
		n := v.Value(i)
		var bytes [16]byte
		binary.BigEndian.PutUint64(bytes[:8], uint64(n.HighBits()))
		binary.BigEndian.PutUint64(bytes[8:], n.LowBits())
		return parquet.FixedLenByteArrayValue(bytes[:])
	})
}

// bytesOf returns the bytes of a text without a copy. They must not be changed.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// leafOf returns a parquetLeaf for arrays of type A.
func leafOf[A arrow.Array](value func(A, int) parquet.Value) parquetLeaf {
	return func(values arrow.Array) func(int) parquet.Value {
		typed := values.(A)
		return func(i int) parquet.Value { return value(typed, i) }
	}
}
