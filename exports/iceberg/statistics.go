package iceberg

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A columnStatistic is a statistic of the column with the field number.
type columnStatistic[T any] struct {
	id    int
	value T
}

// statistics are those of a data file, from its footer. Each list is in the order of field numbers.
type statistics struct {
	sizes   []columnStatistic[int64]  // bytes of leaf columns, compressed
	values  []columnStatistic[int64]  // number of values of top-level columns, with nulls
	nulls   []columnStatistic[int64]  // number of nulls of top-level columns
	lower   []columnStatistic[[]byte] // bounds, in Iceberg's single-value serialization
	upper   []columnStatistic[[]byte]
	offsets []int64 // of row groups
}

// readStatistics reads the statistics from the footer of a published file of the export.
func readStatistics(in io.ReaderAt, size int64, export schema.Export) (s statistics, err error) {
	file, err := parquet.OpenFile(in, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return s, fmt.Errorf("read the footer of a file of %s: %w", export.Name, err)
	}
	metadata := file.Metadata()
	var leaves []format.SchemaElement
	for _, element := range metadata.Schema {
		if !element.NumChildren.Valid || element.NumChildren.V == 0 {
			leaves = append(leaves, element)
		}
	}
	types := map[int]string{} // of top-level primitive columns
	for _, f := range schemaOf(export).Fields {
		if name, primitive := f.Type.(string); primitive {
			types[f.ID] = name
		}
	}
	for i, leaf := range leaves {
		id, size, all := int(leaf.FieldID), int64(0), columnBounds{typ: types[int(leaf.FieldID)], physical: leaf}
		for _, group := range metadata.RowGroups {
			chunk := group.Columns[i].MetaData
			size += chunk.TotalCompressedSize
			all.add(chunk)
		}
		s.sizes = append(s.sizes, columnStatistic[int64]{id, size})
		if all.typ == "" { // nested
			continue
		}
		s.values = append(s.values, columnStatistic[int64]{id, all.values})
		if all.unknown {
			continue
		}
		s.nulls = append(s.nulls, columnStatistic[int64]{id, all.nulls})
		lower, upper := all.serialized()
		if lower != nil {
			s.lower = append(s.lower, columnStatistic[[]byte]{id, lower})
		}
		if upper != nil {
			s.upper = append(s.upper, columnStatistic[[]byte]{id, upper})
		}
	}
	for _, group := range metadata.RowGroups {
		s.offsets = append(s.offsets, firstByte(group.Columns[0].MetaData))
	}
	slices.Sort(s.offsets)
	s.sort()
	return s, nil
}

func (s *statistics) sort() {
	numbers := func(a, b columnStatistic[int64]) int { return cmp.Compare(a.id, b.id) }
	bounds := func(a, b columnStatistic[[]byte]) int { return cmp.Compare(a.id, b.id) }
	slices.SortFunc(s.sizes, numbers)
	slices.SortFunc(s.values, numbers)
	slices.SortFunc(s.nulls, numbers)
	slices.SortFunc(s.lower, bounds)
	slices.SortFunc(s.upper, bounds)
}

// firstByte returns the offset of the first page of a column chunk.
func firstByte(chunk format.ColumnMetaData) int64 {
	if chunk.DictionaryPageOffset > 0 {
		return min(chunk.DictionaryPageOffset, chunk.DataPageOffset)
	}
	return chunk.DataPageOffset
}

// columnBounds collects the statistics of a column over the row groups of a file.
type columnBounds struct {
	typ           string // Iceberg type; "": the column is nested
	physical      format.SchemaElement
	values, nulls int64
	lower, upper  []byte // as in the footer; nil: all values are null
	unknown       bool   // a row group has no statistics, or bounds that do not order the values
}

// add adds the statistics of a row group.
func (c *columnBounds) add(chunk format.ColumnMetaData) {
	stats := chunk.Statistics
	c.values += chunk.NumValues
	c.nulls += stats.NullCount
	if stats.NullCount == chunk.NumValues {
		return
	}
	// The footer does not distinguish an empty bound from a missing one.
	if len(stats.MaxValue) == 0 || len(stats.MinValue) == 0 && c.typ != "string" || !c.ordered(stats) {
		c.unknown = true
		return
	}
	least := slices.Clone(stats.MinValue)
	if least == nil {
		least = []byte{}
	}
	if c.lower == nil || c.compare(least, c.lower) < 0 {
		c.lower = least
	}
	if c.upper == nil || c.compare(stats.MaxValue, c.upper) > 0 {
		c.upper = slices.Clone(stats.MaxValue)
	}
}

// ordered reports whether both bounds can be compared: they have the length of the type, and are not NaN.
func (c *columnBounds) ordered(stats format.Statistics) bool {
	length := map[string]int{"boolean": 1, "int": 4, "date": 4, "long": 8, "timestamptz": 8, "double": 8}[c.typ]
	for _, value := range [][]byte{stats.MinValue, stats.MaxValue} {
		if length > 0 && len(value) != length || c.typ == "double" && math.IsNaN(double(value)) ||
			c.typ == "string" && !utf8.Valid(value) {
			return false
		}
	}
	return true
}

func double(value []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(value)) }

// compare compares two bounds of the column.
func (c *columnBounds) compare(a, b []byte) int {
	switch c.typ {
	case "double":
		return cmp.Compare(double(a), double(b))
	case "string", "boolean":
		return bytes.Compare(a, b)
	}
	return compareSigned(c.bigEndian(a), c.bigEndian(b))
}

// bigEndian returns a signed number with its most significant byte first.
func (c *columnBounds) bigEndian(value []byte) []byte {
	value = slices.Clone(value)
	if c.physical.Type.V != format.FixedLenByteArray && c.physical.Type.V != format.ByteArray {
		slices.Reverse(value)
	}
	return value
}

// compareSigned compares two numbers in two's complement of the same length, most significant byte first.
func compareSigned(a, b []byte) int {
	if negative := a[0] >= 0x80; negative != (b[0] >= 0x80) {
		if negative {
			return -1
		}
		return 1
	}
	return bytes.Compare(a, b)
}

// serialized returns the bounds in Iceberg's single-value serialization, or nil for a bound that has none.
func (c *columnBounds) serialized() (lower, upper []byte) {
	switch {
	case c.lower == nil:
		return nil, nil
	case c.typ == "string":
		return truncateLower(c.lower), truncateUpper(c.upper)
	case strings.HasPrefix(c.typ, "decimal"):
		return shortest(c.bigEndian(c.lower)), shortest(c.bigEndian(c.upper))
	}
	return c.lower, c.upper // the serialization of the other types is that of Parquet
}

// shortest returns a number in two's complement without redundant leading bytes.
func shortest(value []byte) []byte {
	for len(value) > 1 && (value[0] == 0 && value[1] < 0x80 || value[0] == 0xFF && value[1] >= 0x80) {
		value = value[1:]
	}
	return value
}

// boundLength is the maximum length of the bounds of texts, in Unicode code points.
const boundLength = 16

// truncateLower returns the beginning of a text, which is not greater than the text.
func truncateLower(text []byte) []byte {
	if runes := []rune(string(text)); len(runes) > boundLength {
		return []byte(string(runes[:boundLength]))
	}
	return text
}

// truncateUpper returns a short text that is not less than the given one, or nil if no short text is.
func truncateUpper(text []byte) []byte {
	runes := []rune(string(text))
	if len(runes) <= boundLength {
		return text
	}
	runes = runes[:boundLength]
	for i := len(runes) - 1; i >= 0; i-- {
		next := runes[i] + 1
		if next == 0xD800 { // surrogates are not valid in UTF-8
			next = 0xE000
		}
		if next <= utf8.MaxRune {
			return []byte(string(append(runes[:i], next)))
		}
	}
	return nil
}
