package encode

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unsafe"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// A parquetFile encodes a Parquet file, compressed with zstd. Values of types that Parquet lacks (HUGEINT, DECIMALs of
// over 18 digits, INTERVAL) are text as in JSON results. Nested values are JSON, as their logical type says. The
// footer's keys voicory.rows and voicory.truncated hold the [Outcome].
//
// The size of a Parquet file is known only when it is complete. So the encoder adds up the maximum size of all rows,
// uncompressed, and of the metadata of their column chunks. It writes no row with which the sum would exceed the limit.
type parquetFile struct {
	*parquet.Writer
	columns    []Column
	maxBytes   int64         // limit of the file
	used       int64         // maximum size of the file with the rows so far, in bytes
	groupMeta  int64         // maximum size of the metadata and page headers of a row group, in bytes
	groupRows  int64         // rows of the current row group
	groupBytes int64         // maximum size of the current row group, in bytes
	rows       []parquet.Row // buffer of rows that are written together
	sizes      []int64       // maximum size of each row of the buffer, without parquetExpansion, in bytes
}

// Bounds of the memory of a file. A row group is held compressed until it is full, a page is held uncompressed.
const (
	parquetGroupRows  = 32_768
	parquetGroupBytes = 32 << 20
	parquetBlockRows  = 64
	parquetPageBytes  = 256 << 10
)

// Maximum sizes of the parts of a file other than the bytes of its values.
const (
	// A column chunk without the column's name. It has one page with its header and the frames of zstd and of the
	// definition levels. It has one entry in the column index and one in the offset index. Its metadata has two
	// statistics of maxStatistic bytes.
	parquetChunkBytes = 768
	parquetGroupMeta  = 64 // the metadata of a row group
	parquetValueBytes = 2  // the definition level of a value, which in fact takes a quarter of a byte
	parquetTextBytes  = 4  // the length of a byte array
	// The value bytes divided by parquetExpansion cover what zstd adds to incompressible bytes. They also cover the
	// headers and index entries of further pages, which have at least parquetPageBytes each.
	parquetExpansion = 64
	parquetCounters  = 32 // the growth of the numbers in the footer, compared with a file without rows
)

// A parquetColumn returns a function that returns value i of an array. It is not called for NULLs.
type parquetColumn func(values arrow.Array) func(i int) parquet.Value

// newParquet returns an encoder for the rows. It returns a Failure if a column has no name, or if the limit is too
// small for a file without rows.
func newParquet(t *protocol.Task, out *Sink, schema *arrow.Schema, columns []Column) (*parquetFile, error) {
	fields := orderedGroup{Group: parquet.Group{}}
	p := &parquetFile{columns: columns, maxBytes: out.remaining(), groupMeta: parquetGroupMeta,
		rows: make([]parquet.Row, parquetBlockRows), sizes: make([]int64, parquetBlockRows)}
	for i, name := range uniqueNames(columns) {
		if name == "" {
			return nil, &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf("Column %d has no name, and Parquet needs one", i+1)}
		}
		node, _ := parquetNode(schema.Field(i).Type, columns[i].Type)
		if typ := node.Type(); typ.Kind() == parquet.ByteArray {
			node = parquet.Leaf(boundedTexts{typ})
		}
		node = parquet.Encoded(node, &parquet.Plain)
		fields.Group[name] = parquet.Compressed(parquet.Optional(node), &zstd.Codec{Level: zstd.SpeedFastest})
		fields.order = append(fields.order, name)
		p.groupMeta += parquetChunkBytes + int64(len(name))
	}
	file := parquet.NewSchema("result", fields)
	writerTo := func(out io.Writer) *parquet.Writer { //nolint:staticcheck // its successor needs a Go type for the rows
		return parquet.NewWriter(out, file, parquet.DataPageStatistics(false), parquet.PageBufferSize(parquetPageBytes),
			parquet.ColumnIndexSizeLimit(func([]string) int { return maxStatistic }))
	}
	empty := &byteCounter{}
	p.Writer = writerTo(empty)
	if err := p.End(protocol.Outcome{Rows: t.Limit, Truncated: protocol.TruncatedBytes}); err != nil {
		return nil, err
	}
	if p.used = empty.bytes + parquetCounters; p.used > p.maxBytes {
		return nil, limitTooSmall(p.used, p.maxBytes)
	}
	p.Writer = writerTo(out)
	return p, nil
}

// An orderedGroup is a parquet.Group that keeps the order of its fields.
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

// parquetNode returns the Parquet type of a column, and the conversion of its values.
func parquetNode(typ arrow.DataType, name string) (parquet.Node, parquetColumn) {
	switch t := typ.(type) {
	case *arrow.BooleanType:
		return parquet.Leaf(parquet.BooleanType), valuesAs(func(v *array.Boolean, i int) parquet.Value {
			return parquet.BooleanValue(v.Value(i))
		})
	case *arrow.Int8Type:
		return parquet.Int(8), valuesAs(func(v *array.Int8, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Int16Type:
		return parquet.Int(16), valuesAs(func(v *array.Int16, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Int32Type:
		return parquet.Int(32), valuesAs(func(v *array.Int32, i int) parquet.Value {
			return parquet.Int32Value(v.Value(i))
		})
	case *arrow.Int64Type:
		return parquet.Int(64), valuesAs(func(v *array.Int64, i int) parquet.Value {
			return parquet.Int64Value(v.Value(i))
		})
	case *arrow.Uint8Type:
		return parquet.Uint(8), valuesAs(func(v *array.Uint8, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint16Type:
		return parquet.Uint(16), valuesAs(func(v *array.Uint16, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint32Type:
		return parquet.Uint(32), valuesAs(func(v *array.Uint32, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.Uint64Type:
		return parquet.Uint(64), valuesAs(func(v *array.Uint64, i int) parquet.Value {
			return parquet.Int64Value(int64(v.Value(i)))
		})
	case *arrow.Float32Type:
		return parquet.Leaf(parquet.FloatType), valuesAs(func(v *array.Float32, i int) parquet.Value {
			return parquet.FloatValue(v.Value(i))
		})
	case *arrow.Float64Type:
		return parquet.Leaf(parquet.DoubleType), valuesAs(func(v *array.Float64, i int) parquet.Value {
			return parquet.DoubleValue(v.Value(i))
		})
	case *arrow.Date32Type:
		return parquet.Date(), valuesAs(func(v *array.Date32, i int) parquet.Value {
			return parquet.Int32Value(int32(v.Value(i)))
		})
	case *arrow.BinaryType:
		return parquet.Leaf(parquet.ByteArrayType), valuesAs(func(v *array.Binary, i int) parquet.Value {
			return parquet.ByteArrayValue(v.Value(i))
		})
	case *arrow.Decimal128Type:
		const inInt32, inInt64 = 9, 18 // digits
		switch {
		case t.Precision <= inInt32:
			node := parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int32Type)
			return node, valuesAs(func(v *array.Decimal128, i int) parquet.Value {
				return parquet.Int32Value(int32(v.Value(i).LowBits()))
			})
		case t.Precision <= inInt64:
			node := parquet.Decimal(int(t.Scale), int(t.Precision), parquet.Int64Type)
			return node, valuesAs(func(v *array.Decimal128, i int) parquet.Value {
				return parquet.Int64Value(int64(v.Value(i).LowBits()))
			})
		}
	case *arrow.TimestampType:
		return parquetTimestamp(t)
	case *arrow.StringType:
		text := valuesAs(func(v *array.String, i int) parquet.Value {
			return parquet.ByteArrayValue(bytesOf(v.Value(i)))
		})
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

// bytesOf returns the bytes of a text without a copy. They must not be changed.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// parquetTimestamp returns the Parquet type of a timestamp column, and the conversion of its values. Seconds become
// milliseconds, because Parquet has no unit of seconds.
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

// valuesAs returns a parquetColumn for arrays of type A.
func valuesAs[A arrow.Array](value func(A, int) parquet.Value) parquetColumn {
	return func(values arrow.Array) func(int) parquet.Value {
		typed := values.(A)
		return func(i int) parquet.Value { return value(typed, i) }
	}
}

// parquetText returns values as in JSON results, strings without their quotes.
func parquetText(values arrow.Array) func(int) parquet.Value {
	value := jsonAppender(values, false)
	return func(i int) parquet.Value {
		document, text := value(nil, i), ""
		if json.Unmarshal(document, &text) != nil { // not a string
			return parquet.ByteArrayValue(document)
		}
		return parquet.ByteArrayValue([]byte(text))
	}
}

func (p *parquetFile) Write(batch arrow.RecordBatch) (int64, error) {
	values := make([]func(int) parquet.Value, len(p.columns))
	for c, column := range batch.Columns() {
		_, of := parquetNode(column.DataType(), p.columns[c].Type)
		values[c] = of(column)
	}
	count := int(batch.NumRows())
	for from := 0; from < count; from += parquetBlockRows {
		rows := p.rows[:min(parquetBlockRows, count-from)]
		if err := p.fill(rows, batch.Columns(), values, from); err != nil {
			return int64(from), err
		}
		written, err := p.add(rows)
		if err != nil || written < len(rows) {
			return int64(from + written), err
		}
	}
	return int64(count), nil
}

// fill converts the rows of the columns from index from on, and sets p.sizes. The rows point into the columns. It
// returns a Failure if a value has no short upper bound for the statistics.
func (p *parquetFile) fill(
	rows []parquet.Row, columns []arrow.Array, values []func(int) parquet.Value, from int,
) error {
	for i := range rows {
		rows[i], p.sizes[i] = slices.Grow(rows[i][:0], len(columns)), 0
	}
	for c, column := range columns {
		for i := range rows {
			if p.sizes[i]++; column.IsNull(from + i) {
				rows[i] = append(rows[i], parquet.NullValue().Level(0, 0, c))
				continue
			}
			value := values[c](from + i)
			if p.sizes[i] += maxValueSize(value); value.Kind() == parquet.ByteArray && !hasUpperBound(value.ByteArray()) {
				return &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
					"A value of the column %q begins with %d of the highest bytes or characters, and so has no short upper bound "+
						"for the statistics of Parquet: cast it, or choose another format", p.columns[c].Name, maxStatistic)}
			}
			rows[i] = append(rows[i], value.Level(0, 1, c))
		}
	}
	return nil
}

// maxValueSize returns the maximum size of a value, uncompressed, in bytes.
func maxValueSize(v parquet.Value) int64 {
	switch v.Kind() {
	case parquet.Boolean:
		return parquetValueBytes + 1
	case parquet.Int32, parquet.Float:
		return parquetValueBytes + 4
	case parquet.ByteArray:
		return parquetValueBytes + parquetTextBytes + int64(len(v.ByteArray()))
	}
	return parquetValueBytes + 8
}

// add writes the rows that fit and returns their number. Their sizes are in p.sizes. It ends a row group that is full.
func (p *parquetFile) add(rows []parquet.Row) (int, error) {
	written, pending := 0, int64(0) // pending is the size of rows[written:i+1] in bytes
	for i := range rows {
		size := p.sizes[i] + p.sizes[i]/parquetExpansion + 1
		need := size
		if p.groupRows == 0 {
			need += p.groupMeta
		}
		if need > p.maxBytes-p.used {
			_, err := p.WriteRows(rows[written:i])
			return i, err
		}
		p.used += need
		p.groupRows++
		p.groupBytes += size
		pending += size
		full := p.groupRows >= parquetGroupRows || p.groupBytes >= parquetGroupBytes
		if full || pending >= parquetPageBytes || i == len(rows)-1 {
			if _, err := p.WriteRows(rows[written : i+1]); err != nil {
				return i, err
			}
			written, pending = i+1, 0
		}
		if full {
			if err := p.Flush(); err != nil {
				return i, err
			}
			p.groupRows, p.groupBytes = 0, 0
		}
	}
	return len(rows), nil
}

func (p *parquetFile) End(outcome protocol.Outcome) error {
	p.SetKeyValueMetadata("voicory.rows", strconv.FormatInt(outcome.Rows, 10))
	p.SetKeyValueMetadata("voicory.truncated", outcome.Truncated)
	return p.Close()
}
