package query

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// parquetFile is a Parquet file, compressed with zstd. What Parquet has no type for (HUGEINT, DECIMALs of over 18 digits, INTERVAL, lists,
// structs, maps, unions) is text as in the JSON of results, nested values with JSON as their logical type. The footer's keys
// voicory.rows and voicory.truncated say what [Outcome] does.
type parquetFile struct {
	*parquet.Writer
	out     *sink
	columns []column
	most    int64
	held    int64
	rows    []parquet.Row
	sizes   []int64 // of rows
}

// parquetRowGroup is the rows of a row group, which is held in memory until it is full.
const parquetRowGroup = 32_768

// parquetColumn makes the values of a column, the NULLs aside.
type parquetColumn func(values arrow.Array) func(i int) parquet.Value

func newParquet(t *task, out *sink, r *rows) (*parquetFile, error) {
	fields := orderedGroup{Group: parquet.Group{}}
	for i, name := range uniqueNames(r.columns) {
		if name == "" {
			return nil, &Failure{Kind: ErrSQL, Message: fmt.Sprintf("Column %d has no name, and Parquet needs one", i+1)}
		}
		node, _ := parquetNode(r.schema.Field(i).Type, r.columns[i].Type)
		fields.Group[name] = parquet.Compressed(parquet.Optional(node), &zstd.Codec{Level: zstd.SpeedFastest})
		fields.order = append(fields.order, name)
	}
	writer := parquet.NewWriter(out, parquet.NewSchema("result", fields), parquet.MaxRowsPerRowGroup(parquetRowGroup))
	return &parquetFile{Writer: writer, out: out, columns: r.columns, most: t.MaxBytes}, nil
}

// orderedGroup is a group whose fields keep their order.
type orderedGroup struct {
	parquet.Group
	order []string
}

func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.order, a.Name()) - slices.Index(g.order, b.Name())
	})
	return fields
}

// parquetNode is the type of a column in Parquet, and how its values become that.
func parquetNode(typ arrow.DataType, name string) (parquet.Node, parquetColumn) {
	switch t := typ.(type) {
	case *arrow.BooleanType:
		return parquet.Leaf(parquet.BooleanType), valuesAs(func(v *array.Boolean, i int) parquet.Value { return parquet.BooleanValue(v.Value(i)) })
	case *arrow.Int8Type:
		return parquet.Int(8), valuesAs(func(v *array.Int8, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.Int16Type:
		return parquet.Int(16), valuesAs(func(v *array.Int16, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.Int32Type:
		return parquet.Int(32), valuesAs(func(v *array.Int32, i int) parquet.Value { return parquet.Int32Value(v.Value(i)) })
	case *arrow.Int64Type:
		return parquet.Int(64), valuesAs(func(v *array.Int64, i int) parquet.Value { return parquet.Int64Value(v.Value(i)) })
	case *arrow.Uint8Type:
		return parquet.Uint(8), valuesAs(func(v *array.Uint8, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.Uint16Type:
		return parquet.Uint(16), valuesAs(func(v *array.Uint16, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.Uint32Type:
		return parquet.Uint(32), valuesAs(func(v *array.Uint32, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.Uint64Type:
		return parquet.Uint(64), valuesAs(func(v *array.Uint64, i int) parquet.Value { return parquet.Int64Value(int64(v.Value(i))) })
	case *arrow.Float32Type:
		return parquet.Leaf(parquet.FloatType), valuesAs(func(v *array.Float32, i int) parquet.Value { return parquet.FloatValue(v.Value(i)) })
	case *arrow.Float64Type:
		return parquet.Leaf(parquet.DoubleType), valuesAs(func(v *array.Float64, i int) parquet.Value { return parquet.DoubleValue(v.Value(i)) })
	case *arrow.Date32Type:
		return parquet.Date(), valuesAs(func(v *array.Date32, i int) parquet.Value { return parquet.Int32Value(int32(v.Value(i))) })
	case *arrow.BinaryType:
		return parquet.Leaf(parquet.ByteArrayType), valuesAs(func(v *array.Binary, i int) parquet.Value { return parquet.ByteArrayValue(v.Value(i)) })
	case *arrow.Decimal128Type:
		const inInt32, inInt64 = 9, 18 // digits
		switch {
		case t.Precision <= inInt32:
			return parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int32Type), valuesAs(func(v *array.Decimal128, i int) parquet.Value {
				return parquet.Int32Value(int32(v.Value(i).LowBits()))
			})
		case t.Precision <= inInt64:
			return parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int64Type), valuesAs(func(v *array.Decimal128, i int) parquet.Value {
				return parquet.Int64Value(int64(v.Value(i).LowBits()))
			})
		}
	case *arrow.TimestampType:
		return parquetTimestamp(t)
	case *arrow.StringType:
		text := valuesAs(func(v *array.String, i int) parquet.Value { return parquet.ByteArrayValue([]byte(v.Value(i))) })
		if name == "JSON" {
			return parquet.JSON(), text
		}
		return parquet.String(), text
	}
	if _, nested := typ.(arrow.NestedType); nested {
		return parquet.JSON(), parquetText
	}
	return parquet.String(), parquetText
}

func parquetTimestamp(t *arrow.TimestampType) (parquet.Node, parquetColumn) {
	unit, scale := parquet.Microsecond, int64(1)
	switch t.Unit {
	case arrow.Nanosecond:
		unit = parquet.Nanosecond
	case arrow.Millisecond:
		unit = parquet.Millisecond
	case arrow.Second:
		unit, scale = parquet.Millisecond, 1000
	}
	return parquet.TimestampAdjusted(unit, t.TimeZone != ""), valuesAs(func(v *array.Timestamp, i int) parquet.Value {
		return parquet.Int64Value(int64(v.Value(i)) * scale)
	})
}

func valuesAs[A arrow.Array](value func(A, int) parquet.Value) parquetColumn {
	return func(values arrow.Array) func(int) parquet.Value {
		typed := values.(A)
		return func(i int) parquet.Value { return value(typed, i) }
	}
}

// parquetText is a value as the JSON of results has it, a text without its quotes.
func parquetText(values arrow.Array) func(int) parquet.Value {
	value := valuesOf(values, false)
	return func(i int) parquet.Value {
		document, text := value(nil, i), ""
		if json.Unmarshal(document, &text) != nil { // it is no text
			return parquet.ByteArrayValue(document)
		}
		return parquet.ByteArrayValue([]byte(text))
	}
}

func (p *parquetFile) write(batch arrow.RecordBatch) (int64, error) {
	count := int(batch.NumRows())
	p.rows = slices.Grow(p.rows[:0], count)[:count]
	p.sizes = slices.Grow(p.sizes[:0], count)[:count]
	for i := range p.rows {
		p.rows[i], p.sizes[i] = slices.Grow(p.rows[i][:0], len(p.columns)), 0
	}
	for c, values := range batch.Columns() {
		_, column := parquetNode(values.DataType(), p.columns[c].Type)
		value := column(values)
		for i := range p.rows {
			if values.IsNull(i) {
				p.rows[i] = append(p.rows[i], parquet.NullValue().Level(0, 0, c))
				continue
			}
			v := value(i)
			if p.sizes[i] += 8; v.Kind() == parquet.ByteArray {
				p.sizes[i] += int64(len(v.ByteArray()))
			}
			p.rows[i] = append(p.rows[i], v.Level(0, 1, c))
		}
	}
	fit := 0
	for ; fit < count && p.held < p.most; fit++ {
		p.held += p.sizes[fit]
	}
	n, err := p.WriteRows(p.rows[:fit])
	return int64(n), err
}

func (p *parquetFile) size() int64 { return p.held }

func (p *parquetFile) end(outcome Outcome) error {
	p.SetKeyValueMetadata("voicory.rows", strconv.FormatInt(outcome.Rows, 10))
	p.SetKeyValueMetadata("voicory.truncated", outcome.Truncated)
	return p.Close()
}
