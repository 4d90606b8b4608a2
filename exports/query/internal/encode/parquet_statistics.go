package encode

import (
	"bytes"
	"cmp"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// maxStatistic is the maximum length of a text or BLOB in the statistics and indexes of a Parquet file, in bytes.
// Longer values are replaced by a lower or an upper bound, which the Parquet format allows.
const maxStatistic = 64

// boundedTexts is a byte array type whose page bounds have at most maxStatistic bytes. Without it, the writer would
// copy the smallest and the greatest value of each row group into the footer, and hold them in memory until the end.
type boundedTexts struct{ parquet.Type }

func (t boundedTexts) NewColumnBuffer(column, values int) parquet.ColumnBuffer {
	return boundedBuffer{t.Type.NewColumnBuffer(column, values)}
}

type boundedBuffer struct{ parquet.ColumnBuffer }

func (b boundedBuffer) Page() parquet.Page { return boundedPage{b.ColumnBuffer.Page()} }

type boundedPage struct{ parquet.Page }

func (p boundedPage) Bounds() (least, greatest parquet.Value, ok bool) {
	least, greatest, ok = p.Page.Bounds()
	if !ok {
		return least, greatest, ok
	}
	upper, _ := upperBound(greatest.ByteArray()) // write has checked that there is one
	return parquet.ByteArrayValue(lowerBound(least.ByteArray())), parquet.ByteArrayValue(upper), true
}

// lowerBound returns a value of at most maxStatistic bytes that is not greater than value. A text stays valid UTF-8.
func lowerBound(value []byte) []byte {
	if len(value) <= maxStatistic {
		return value
	}
	end := maxStatistic
	for end > maxStatistic-utf8.UTFMax && !utf8.RuneStart(value[end]) {
		end--
	}
	if !utf8.RuneStart(value[end]) { // not a text
		end = maxStatistic
	}
	return value[:end]
}

// hasUpperBound reports whether upperBound returns a value.
func hasUpperBound(value []byte) bool {
	_, ok := upperBound(value)
	return ok
}

// upperBound returns a value of at most maxStatistic bytes that is not less than value. It returns false if no such
// value exists: if value begins with the highest bytes or characters only. A text stays valid UTF-8.
func upperBound(value []byte) (bound []byte, ok bool) {
	if len(value) <= maxStatistic {
		return value, true
	}
	prefix := lowerBound(value)
	text := utf8.Valid(prefix)
	for len(prefix) > 0 {
		last, size := rune(prefix[len(prefix)-1]), 1
		if text {
			last, size = utf8.DecodeLastRune(prefix)
		}
		rest := prefix[:len(prefix)-size]
		if next := last + 1; text && next <= utf8.MaxRune {
			const firstSurrogate, afterSurrogates = 0xD800, 0xE000
			if next == firstSurrogate {
				next = afterSurrogates
			}
			if len(rest)+utf8.RuneLen(next) <= maxStatistic {
				return utf8.AppendRune(append([]byte(nil), rest...), next), true
			}
		} else if !text && next <= 0xFF {
			return append(append([]byte(nil), rest...), byte(next)), true
		}
		prefix = rest
	}
	return nil, false
}

// signedDecimals is a type of decimals of 16 bytes whose bounds are those of signed numbers. The writer compares bytes
// as unsigned numbers, so that the statistics of negative decimals would be wrong.
type signedDecimals struct{ parquet.Type }

func (t signedDecimals) Compare(a, b parquet.Value) int {
	return compareSigned(a.ByteArray(), b.ByteArray())
}

func (t signedDecimals) NewColumnBuffer(column, values int) parquet.ColumnBuffer {
	return signedBuffer{t.Type.NewColumnBuffer(column, values)}
}

func (t signedDecimals) NewColumnIndexer(sizeLimit int) parquet.ColumnIndexer {
	return unorderedIndexer{t.Type.NewColumnIndexer(sizeLimit)}
}

type signedBuffer struct{ parquet.ColumnBuffer }

func (b signedBuffer) Page() parquet.Page { return signedPage{b.ColumnBuffer.Page()} }

type signedPage struct{ parquet.Page }

func (p signedPage) Bounds() (least, greatest parquet.Value, ok bool) {
	values := p.Data()
	all := values.Uint128()
	if len(all) == 0 {
		return least, greatest, false
	}
	low, high := all[0], all[0]
	for _, value := range all[1:] {
		if compareSigned(value[:], low[:]) < 0 {
			low = value
		} else if compareSigned(value[:], high[:]) > 0 {
			high = value
		}
	}
	return parquet.FixedLenByteArrayValue(low[:]), parquet.FixedLenByteArrayValue(high[:]), true
}

// compareSigned compares two's complement numbers of the same length, big endian.
func compareSigned(a, b []byte) int {
	return cmp.Or(cmp.Compare(int8(a[0]), int8(b[0])), bytes.Compare(a[1:], b[1:]))
}

// An unorderedIndexer does not claim that the pages of a column are sorted, which the writer decides by unsigned bytes.
type unorderedIndexer struct{ parquet.ColumnIndexer }

func (i unorderedIndexer) ColumnIndex() format.ColumnIndex {
	index := i.ColumnIndexer.ColumnIndex()
	index.BoundaryOrder = format.Unordered
	return index
}
