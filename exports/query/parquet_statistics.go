package query

import (
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// maxStatistic is the most bytes of a text or BLOB in the statistics and indexes of a Parquet file. Longer values are
// there as a lower and an upper bound of them, which is what readers take statistics for.
const maxStatistic = 64

// boundedTexts is a type of byte arrays whose pages have bounds of at most maxStatistic bytes. The writer would copy
// the least and the greatest value into the footer for each row group, and hold them until the end.
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

// hasUpperBound reports whether upperBound has a value to return.
func hasUpperBound(value []byte) bool {
	_, ok := upperBound(value)
	return ok
}

// upperBound returns a value of at most maxStatistic bytes that is not less than value, unless there is none: the value
// begins with the highest bytes or characters only. A text stays valid UTF-8.
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
