package encode

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// A Converter converts DuckDB's batches to Arrow types that every reader knows. DuckDB exports some types as bytes in
// its own format, if arrow_lossless_conversion is set; without the setting it would lose the time zones of TIMETZ.
// BOOLEAN becomes bool, HUGEINT becomes decimal128(38, 0), and BIGNUM, BIT, TIMETZ, UHUGEINT and UUID become text.
type Converter struct {
	Schema   *arrow.Schema // of the converted batches; its names are unique and not empty
	types    []*Type
	textKeys bool // a MAP has keys that become texts
}

// NewConverter returns a converter of batches with the given schema.
func NewConverter(schema *arrow.Schema, columns []Column) *Converter {
	c := &Converter{}
	var fields []arrow.Field
	for i, name := range columnNames(columns) {
		field := schema.Field(i)
		fields = append(fields, arrow.Field{
			Name: name, Type: columns[i].Type.converted(field.Type), Nullable: field.Nullable,
		})
		c.types = append(c.types, columns[i].Type)
		c.textKeys = c.textKeys || columns[i].Type.convertsKeys()
	}
	c.Schema = arrow.NewSchema(fields, nil)
	return c
}

// Convert returns the converted batch, which the caller releases. The batch must be in canonical form, see package
// arrowbatch, and so is the converted one.
func (c *Converter) Convert(batch arrow.RecordBatch) (arrow.RecordBatch, error) {
	columns := make([]arrow.Array, batch.NumCols())
	for i, column := range batch.Columns() {
		data := c.types[i].convert(column.Data(), c.Schema.Field(i).Type)
		columns[i] = array.MakeFromData(data)
		data.Release()
		defer columns[i].Release()
	}
	converted := array.NewRecordBatch(c.Schema, columns, batch.NumRows())
	if !c.textKeys {
		return converted, nil
	}
	defer converted.Release()
	return arrowbatch.Head(converted, converted.NumRows()) // a key that no map refers to is zero, and now has a text
}

// convertsKeys reports whether a MAP in the type has keys that become texts.
func (t *Type) convertsKeys() bool {
	if t.ID == typeMap && t.Members[0].Type.ID != typeVarchar {
		return true
	}
	return slices.ContainsFunc(t.Members, func(m Member) bool { return m.Type.convertsKeys() })
}

// converted returns the Arrow type to which values of type t are converted. from is DuckDB's Arrow type.
func (t *Type) converted(from arrow.DataType) arrow.DataType {
	child := func(member int, field arrow.Field) arrow.Field {
		return arrow.Field{Name: field.Name, Type: t.Members[member].Type.converted(field.Type), Nullable: field.Nullable}
	}
	switch f := from.(type) {
	case *arrow.ListType:
		return arrow.ListOfField(child(0, f.ElemField()))
	case *arrow.FixedSizeListType:
		return arrow.FixedSizeListOfField(f.Len(), child(0, f.ElemField()))
	case *arrow.MapType:
		return arrow.MapOf(child(0, f.KeyField()).Type, child(1, f.ItemField()).Type)
	case *arrow.StructType:
		return arrow.StructOf(t.convertedMembers(f.Fields())...)
	case *arrow.SparseUnionType:
		return arrow.SparseUnionOf(t.convertedMembers(f.Fields()), f.TypeCodes())
	}
	switch t.ID {
	case typeBoolean:
		return arrow.FixedWidthTypes.Boolean
	case typeHugeInt:
		return &arrow.Decimal128Type{Precision: hugeIntDigits, Scale: 0}
	case typeBigNum, typeBit, typeTimeTZ, typeUHuge, typeUUID:
		return arrow.BinaryTypes.String
	}
	return from
}

// convertedMembers returns the fields of a STRUCT or UNION with unique names and converted types.
func (t *Type) convertedMembers(from []arrow.Field) []arrow.Field {
	fields := make([]arrow.Field, len(from))
	for i, name := range t.memberNames() {
		fields[i] = arrow.Field{Name: name, Type: t.Members[i].Type.converted(from[i].Type), Nullable: from[i].Nullable}
	}
	return fields
}

// convert converts values of type t to the Arrow type to, which is the result of converted. The caller releases them.
func (t *Type) convert(values arrow.ArrayData, to arrow.DataType) arrow.ArrayData {
	if arrow.TypeEqual(values.DataType(), to) {
		values.Retain()
		return values
	}
	switch t.ID {
	case typeBoolean:
		return boolsOf(values, to)
	case typeHugeInt: // the same bytes, little endian
		return array.NewData(to, values.Len(), values.Buffers(), nil, values.NullN(), 0)
	case typeBigNum, typeBit, typeTimeTZ, typeUHuge, typeUUID:
		return textsOf(values, t.text())
	}
	var children []arrow.ArrayData
	for i, child := range values.Children() {
		if entries, ok := to.(*arrow.MapType); ok { // its only child is a struct of key and value
			entry := &Type{ID: typeStruct, Members: t.Members}
			children = append(children, entry.convert(child, entries.Elem()))
		} else {
			children = append(children, t.Members[i].Type.convert(child, to.(arrow.NestedType).Fields()[i].Type))
		}
		defer children[i].Release()
	}
	return array.NewData(to, values.Len(), values.Buffers(), children, values.NullN(), 0)
}

// boolsOf converts bytes to an array of bits.
func boolsOf(values arrow.ArrayData, to arrow.DataType) arrow.ArrayData {
	bits := make([]byte, (values.Len()+7)/8)
	for i, value := range values.Buffers()[1].Bytes()[:values.Len()] {
		if value != 0 {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	buffers := []*memory.Buffer{values.Buffers()[0], memory.NewBufferBytes(bits)}
	defer buffers[1].Release()
	return array.NewData(to, values.Len(), buffers, nil, values.NullN(), 0)
}

// textsOf converts values in DuckDB's format to texts.
func textsOf(values arrow.ArrayData, appendText func(dst, value []byte) []byte) arrow.ArrayData {
	from := array.MakeFromData(values)
	defer from.Release()
	valueAt := func(i int) []byte { return from.(*array.FixedSizeBinary).Value(i) }
	if binary, ok := from.(*array.Binary); ok {
		valueAt = binary.Value
	}
	const usual = len("00000000-0000-0000-0000-000000000000")
	offsets, texts := make([]int32, values.Len()+1), make([]byte, 0, values.Len()*usual)
	for i := range values.Len() {
		if value := valueAt(i); from.IsValid(i) && len(value) > 0 { // a hidden key of a map has no bytes
			texts = appendText(texts, value)
		}
		offsets[i+1] = int32(len(texts))
	}
	buffers := []*memory.Buffer{
		values.Buffers()[0], memory.NewBufferBytes(arrow.GetBytes(offsets)), memory.NewBufferBytes(texts),
	}
	defer buffers[1].Release()
	defer buffers[2].Release()
	return array.NewData(arrow.BinaryTypes.String, values.Len(), buffers, nil, values.NullN(), 0)
}

// text returns the function that appends the text of a value in DuckDB's format.
func (t *Type) text() func(dst, value []byte) []byte {
	switch t.ID {
	case typeBigNum:
		return appendBigNum
	case typeBit:
		return appendBits
	case typeTimeTZ:
		return appendTimeTZ
	case typeUHuge:
		return appendUHugeInt
	}
	return appendUUID
}

// appendUHugeInt appends the decimal digits of an unsigned integer of 128 bits, little endian.
func appendUHugeInt(dst, value []byte) []byte {
	var big128 [16]byte
	for i, b := range value {
		big128[len(big128)-1-i] = b
	}
	return new(big.Int).SetBytes(big128[:]).Append(dst, 10)
}

// appendBigNum appends the decimal digits of a BIGNUM. It has a header of three bytes, with the sign as the highest
// bit, and the absolute value, big endian. All bits of a negative number are inverted.
func appendBigNum(dst, value []byte) []byte {
	const header, positive = 3, 0x80
	magnitude := append([]byte(nil), value[header:]...)
	if value[0]&positive != 0 {
		return new(big.Int).SetBytes(magnitude).Append(dst, 10)
	}
	for i := range magnitude {
		magnitude[i] = ^magnitude[i]
	}
	n := new(big.Int).SetBytes(magnitude)
	return n.Neg(n).Append(dst, 10)
}

// appendBits appends the digits of a BIT. Its first byte is the number of bits of the second byte that do not count.
func appendBits(dst, value []byte) []byte {
	for i := int(value[0]); i < 8*(len(value)-1); i++ {
		dst = append(dst, '0'+value[1+i/8]>>(7-i%8)&1)
	}
	return dst
}

// appendTimeTZ appends a TIMETZ, such as 10:00:00.000+05:30. Its upper 40 bits are microseconds, its lower 24 bits the
// seconds from its offset to the greatest one.
func appendTimeTZ(dst, value []byte) []byte {
	const offsetBits, greatest = 24, 16*3600 - 1
	bits := binary.LittleEndian.Uint64(value)
	dst = appendClock(dst, int64(bits>>offsetBits)*1000)
	offset, sign := greatest-int(bits&(1<<offsetBits-1)), '+'
	if offset < 0 {
		offset, sign = -offset, '-'
	}
	dst = fmt.Appendf(dst, "%c%02d:%02d", sign, offset/3600, offset/60%60)
	if seconds := offset % 60; seconds != 0 {
		dst = fmt.Appendf(dst, ":%02d", seconds)
	}
	return dst
}

// appendUUID appends a UUID of 16 bytes, big endian.
func appendUUID(dst, value []byte) []byte {
	begin := len(dst)
	dst = append(dst, "00000000-0000-0000-0000-000000000000"...)
	text := dst[begin:]
	hex.Encode(text[:8], value[:4])
	hex.Encode(text[9:13], value[4:6])
	hex.Encode(text[14:18], value[6:8])
	hex.Encode(text[19:23], value[8:10])
	hex.Encode(text[24:], value[10:])
	return dst
}

// checkDecimals returns a Failure if a HUGEINT in a column, at any depth, has more digits than a decimal128 or a
// DECIMAL of Parquet can have.
func checkDecimals(batch arrow.RecordBatch, columns []Column) error {
	for i, values := range batch.Columns() {
		if columns[i].Type.Contains(typeHugeInt) && exceedsDecimal(values.Data()) {
			return &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
				"A value of the column %q has more than %d digits, which Arrow and Parquet cannot hold: cast it to VARCHAR or "+
					"DOUBLE, or choose another format", columns[i].Name, hugeIntDigits)}
		}
	}
	return nil
}

var maxDecimal = decimal128.GetMaxValue(hugeIntDigits)

// hasDigits reports whether a number is between −most and most. The smallest HUGEINT has no absolute value.
func hasDigits(n, most decimal128.Num) bool { return !most.Less(n) && !n.Less(most.Negate()) }

// exceedsDecimal reports whether a number in an array, at any depth, has more than 38 digits.
func exceedsDecimal(values arrow.ArrayData) bool {
	if values.DataType().ID() == arrow.DECIMAL128 {
		numbers := array.NewDecimal128Data(values)
		defer numbers.Release()
		return slices.ContainsFunc(numbers.Values(), func(n decimal128.Num) bool {
			return !hasDigits(n, maxDecimal)
		})
	}
	return slices.ContainsFunc(values.Children(), exceedsDecimal)
}
