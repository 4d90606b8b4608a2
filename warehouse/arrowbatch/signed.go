package arrowbatch

import (
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// DuckDB exports an ENUM as a dictionary with unsigned indices, which the Arrow format advises against: pandas cannot
// hold them, and pyarrow before version 23 does not convert them. So each unsigned type of indices is replaced by the
// next wider signed type, which holds the same values. An ENUM has less than 2^31 values.
var signedIndex = map[arrow.Type]arrow.DataType{
	arrow.UINT8: arrow.PrimitiveTypes.Int16, arrow.UINT16: arrow.PrimitiveTypes.Int32,
	arrow.UINT32: arrow.PrimitiveTypes.Int32,
}

// signedType returns the type with signed indices in all dictionaries, at any depth. It returns typ itself if nothing
// changes.
func signedType(typ arrow.DataType) arrow.DataType {
	switch t := typ.(type) {
	case *arrow.DictionaryType:
		if index, ok := signedIndex[t.IndexType.ID()]; ok {
			return &arrow.DictionaryType{IndexType: index, ValueType: t.ValueType, Ordered: t.Ordered}
		}
	case *arrow.ListType:
		if element, changed := signedField(t.ElemField()); changed {
			return arrow.ListOfField(element)
		}
	case *arrow.FixedSizeListType:
		if element, changed := signedField(t.ElemField()); changed {
			return arrow.FixedSizeListOfField(t.Len(), element)
		}
	case *arrow.MapType:
		key, changedKey := signedField(t.KeyField())
		item, changedItem := signedField(t.ItemField())
		if changedKey || changedItem {
			key.Nullable = false
			signed := arrow.MapOfFields(key, item)
			signed.KeysSorted = t.KeysSorted
			return signed
		}
	case *arrow.StructType:
		if fields, changed := signedFields(t.Fields()); changed {
			return arrow.StructOf(fields...)
		}
	case *arrow.SparseUnionType:
		if fields, changed := signedFields(t.Fields()); changed {
			return arrow.SparseUnionOf(fields, t.TypeCodes())
		}
	}
	return typ
}

// signedField returns the field with signed indices, and whether it changed.
func signedField(field arrow.Field) (arrow.Field, bool) {
	typ := signedType(field.Type)
	changed := typ != field.Type
	field.Type = typ
	return field, changed
}

// signedFields returns copies of the fields with signed indices, and whether any changed.
func signedFields(fields []arrow.Field) (signed []arrow.Field, changed bool) {
	for _, field := range fields {
		field, fieldChanged := signedField(field)
		signed, changed = append(signed, field), changed || fieldChanged
	}
	return signed, changed
}

// withType returns a whole array with the indices of its dictionaries converted to those of typ, which is the result of
// signedType for its type. The caller releases the array.
func withType(data arrow.ArrayData, typ arrow.DataType) arrow.ArrayData {
	if arrow.TypeEqual(typ, data.DataType()) {
		data.Retain()
		return data
	}
	if dictionary, ok := typ.(*arrow.DictionaryType); ok {
		return withIndices(data, dictionary)
	}
	of := []arrow.DataType{}
	switch t := typ.(type) {
	case *arrow.MapType: // its child is the struct of keys and values
		of = append(of, t.Elem())
	case arrow.NestedType:
		for _, field := range t.Fields() {
			of = append(of, field.Type)
		}
	}
	children := make([]arrow.ArrayData, len(of))
	for i, child := range data.Children() {
		children[i] = withType(child, of[i])
		defer children[i].Release()
	}
	return array.NewData(typ, data.Len(), data.Buffers(), children, data.NullN(), 0)
}

// withIndices returns a dictionary array with wider indices. The caller releases it.
func withIndices(data arrow.ArrayData, typ *arrow.DictionaryType) arrow.ArrayData {
	old := data.Buffers()[1].Bytes()
	var indices []byte
	switch data.DataType().(*arrow.DictionaryType).IndexType.ID() {
	case arrow.UINT8:
		indices = widened[uint8, int16](old)
	case arrow.UINT16:
		indices = widened[uint16, int32](old)
	default:
		indices = widened[uint32, int32](old)
	}
	buffers := []*memory.Buffer{data.Buffers()[0], memory.NewBufferBytes(indices)}
	defer buffers[1].Release()
	return array.NewDataWithDictionary(typ, data.Len(), buffers, data.NullN(), 0, data.Dictionary().(*array.Data))
}

// widened returns the bytes of integers, converted to type To.
func widened[From uint8 | uint16 | uint32, To int16 | int32](bytes []byte) []byte {
	values := cast[From](bytes)
	wide := make([]To, len(values))
	for i, value := range values {
		wide[i] = To(value)
	}
	return arrow.GetBytes(wide)
}
