package encode

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// An appender appends the JSON of value i of an array to dst.
type appender func(dst []byte, i int) []byte

// maxExact is 2^53−1: a double holds each integer up to it, and many JSON readers store numbers as doubles.
const maxExact = 1<<53 - 1

// jsonAppender returns the appender of an array's values of type t.
//
// Values are written as follows:
//   - Numbers are JSON numbers, unless a double loses digits: integers beyond ±(2^53−1) and decimals of over 15 digits
//     are strings. NaN, Infinity and -Infinity are strings.
//   - Times are ISO 8601 with three, six or nine digits of a second. Timestamps with a time zone are in UTC and end in
//     Z. An infinite date or timestamp is "infinity" or "-infinity".
//   - An INTERVAL is a string as DuckDB shows it. A BLOB is base64. A BIT is a string of 0 and 1.
//   - A JSON value is its document, at any depth.
//   - A STRUCT, and a MAP with text keys, is an object. Any other MAP is a list of {"key": …, "value": …}.
//   - A UNION is the value of its member.
func jsonAppender(values arrow.Array, t *Type) appender {
	inner := nonNullAppender(values, t)
	if values.NullN() == 0 {
		return inner
	}
	return func(dst []byte, i int) []byte {
		if values.IsNull(i) {
			return append(dst, "null"...)
		}
		return inner(dst, i)
	}
}

// nonNullAppender returns the appender of an array's values other than NULL.
func nonNullAppender(values arrow.Array, t *Type) appender {
	switch v := values.(type) {
	case *array.Boolean:
		return func(dst []byte, i int) []byte { return strconv.AppendBool(dst, v.Value(i)) }
	case *array.Int8:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(v.Value(i))) }
	case *array.Int16:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(v.Value(i))) }
	case *array.Int32:
		return func(dst []byte, i int) []byte { return appendInt(dst, int64(v.Value(i))) }
	case *array.Int64:
		return func(dst []byte, i int) []byte { return appendInt(dst, v.Value(i)) }
	case *array.Uint8:
		return func(dst []byte, i int) []byte { return appendUint(dst, uint64(v.Value(i))) }
	case *array.Uint16:
		return func(dst []byte, i int) []byte { return appendUint(dst, uint64(v.Value(i))) }
	case *array.Uint32:
		return func(dst []byte, i int) []byte { return appendUint(dst, uint64(v.Value(i))) }
	case *array.Uint64:
		return func(dst []byte, i int) []byte { return appendUint(dst, v.Value(i)) }
	case *array.Float32:
		return func(dst []byte, i int) []byte { return appendFloat(dst, float64(v.Value(i)), 32) }
	case *array.Float64:
		return func(dst []byte, i int) []byte { return appendFloat(dst, v.Value(i), 64) }
	case *array.Decimal128:
		scale := v.DataType().(*arrow.Decimal128Type).Scale
		return func(dst []byte, i int) []byte { return appendDecimal(dst, v.Value(i), scale) }
	case *array.String:
		switch t.ID {
		case typeJSON:
			return func(dst []byte, i int) []byte { return appendDocument(dst, v.Value(i)) }
		case typeBigNum, typeUHuge:
			return func(dst []byte, i int) []byte { return appendDigits(dst, v.Value(i)) }
		}
		return func(dst []byte, i int) []byte { return appendText(dst, v.Value(i)) }
	case *array.Binary:
		return func(dst []byte, i int) []byte {
			return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v.Value(i)), '"')
		}
	}
	if times := timeAppender(values); times != nil {
		return times
	}
	if nested := nestedAppender(values, t); nested != nil {
		return nested
	}
	return func(dst []byte, i int) []byte { return appendText(dst, values.ValueStr(i)) }
}

// timeAppender returns the appender of an array of dates, times or intervals, or nil for other arrays.
func timeAppender(values arrow.Array) appender {
	switch v := values.(type) {
	case *array.Date32:
		return func(dst []byte, i int) []byte {
			const infinite = math.MaxInt32
			n := v.Value(i)
			if n == infinite || n == -infinite {
				return appendInfinity(dst, n > 0)
			}
			return appendTime(dst, n.ToTime(), time.DateOnly, "")
		}
	case *array.Time64:
		unit := int64(v.DataType().(*arrow.Time64Type).Unit.Multiplier())
		return func(dst []byte, i int) []byte {
			return append(appendClock(append(dst, '"'), int64(v.Value(i))*unit), '"')
		}
	case *array.Timestamp:
		typ, suffix := v.DataType().(*arrow.TimestampType), fraction
		if typ.TimeZone != "" {
			suffix = fractionUTC
		}
		return func(dst []byte, i int) []byte {
			n := v.Value(i)
			if isInfinite(n) {
				return appendInfinity(dst, n > 0)
			}
			return appendTime(dst, n.ToTime(typ.Unit), "2006-01-02T15:04:05", suffix)
		}
	case *array.MonthDayNanoInterval:
		return func(dst []byte, i int) []byte {
			return append(append(append(dst, '"'), intervalText(v.Value(i))...), '"')
		}
	}
	return nil
}

// isInfinite reports whether a timestamp is DuckDB's infinity or -infinity, which are the same numbers in all units.
func isInfinite(n arrow.Timestamp) bool { return n == math.MaxInt64 || n == -math.MaxInt64 }

// appendInfinity appends an infinite date or timestamp.
func appendInfinity(dst []byte, positive bool) []byte {
	if positive {
		return append(dst, `"infinity"`...)
	}
	return append(dst, `"-infinity"`...)
}

// nestedAppender returns the appender of an array of nested values, ENUMs or UNIONs, or nil for other arrays.
func nestedAppender(values arrow.Array, t *Type) appender {
	switch v := values.(type) {
	case *array.Map: // before ListLike, which a Map implements too
		return mapAppender(v, t)
	case array.ListLike:
		element := jsonAppender(v.ListValues(), t.Members[0].Type)
		return func(dst []byte, i int) []byte {
			start, end := v.ValueOffsets(i)
			dst = append(dst, '[')
			for j := start; j < end; j++ {
				if j > start {
					dst = append(dst, ',')
				}
				dst = element(dst, int(j))
			}
			return append(dst, ']')
		}
	case *array.Struct:
		members, prefixes := make([]appender, v.NumField()), make([]string, v.NumField())
		for i, name := range t.memberNames() {
			members[i] = jsonAppender(v.Field(i), t.Members[i].Type)
			prefixes[i] = string(append(appendText(nil, name), ':'))
		}
		return func(dst []byte, i int) []byte {
			dst = append(dst, '{')
			for j, member := range members {
				if j > 0 {
					dst = append(dst, ',')
				}
				dst = member(append(dst, prefixes[j]...), i)
			}
			return append(dst, '}')
		}
	case *array.Dictionary: // an ENUM
		name := jsonAppender(v.Dictionary(), &Type{ID: typeVarchar})
		return func(dst []byte, i int) []byte { return name(dst, v.GetValueIndex(i)) }
	case *array.SparseUnion:
		members := make([]appender, v.NumFields())
		for i := range members {
			members[i] = jsonAppender(v.Field(i), t.Members[i].Type)
		}
		return func(dst []byte, i int) []byte { return members[v.ChildID(i)](dst, i) }
	}
	return nil
}

// mapAppender returns the appender of an array of MAPs.
func mapAppender(v *array.Map, t *Type) appender {
	key, item := jsonAppender(v.Keys(), t.Members[0].Type), jsonAppender(v.Items(), t.Members[1].Type)
	keys := t.Members[0].Type.ID
	text := keys == typeVarchar || keys == typeUUID
	opening, closing := byte('['), byte(']')
	if text {
		opening, closing = '{', '}'
	}
	return func(dst []byte, i int) []byte {
		start, end := v.ValueOffsets(i)
		dst = append(dst, opening)
		for j := int(start); j < int(end); j++ {
			if j > int(start) {
				dst = append(dst, ',')
			}
			if text {
				dst = item(append(key(dst, j), ':'), j)
			} else {
				dst = append(item(append(key(append(dst, `{"key":`...), j), `,"value":`...), j), '}')
			}
		}
		return append(dst, closing)
	}
}

// appendInt appends an integer as a number, or as a string beyond ±maxExact.
func appendInt(dst []byte, n int64) []byte {
	if n > maxExact || n < -maxExact {
		return append(strconv.AppendInt(append(dst, '"'), n, 10), '"')
	}
	return strconv.AppendInt(dst, n, 10)
}

// appendUint appends an integer as a number, or as a string if it is greater than maxExact.
func appendUint(dst []byte, n uint64) []byte {
	if n > maxExact {
		return append(strconv.AppendUint(append(dst, '"'), n, 10), '"')
	}
	return strconv.AppendUint(dst, n, 10)
}

// appendDigits appends an integer of any size, given as its decimal digits, like appendInt.
func appendDigits(dst []byte, digits string) []byte {
	if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
		return appendInt(dst, n)
	}
	return append(append(append(dst, '"'), digits...), '"')
}

// appendFloat appends a float of 32 or 64 bits with the fewest digits that identify it.
func appendFloat(dst []byte, n float64, bits int) []byte {
	switch {
	case math.IsNaN(n):
		return append(dst, `"NaN"`...)
	case math.IsInf(n, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(n, -1):
		return append(dst, `"-Infinity"`...)
	case n != 0 && (math.Abs(n) < 1e-6 || math.Abs(n) >= 1e21):
		return strconv.AppendFloat(dst, n, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, n, 'f', -1, bits)
}

// maxExactDecimal is 10^15−1: a double holds each decimal of up to 15 digits.
var maxExactDecimal = decimal128.FromU64(999_999_999_999_999)

// appendDecimal appends a decimal as a number, or as a string if a double loses digits.
func appendDecimal(dst []byte, n decimal128.Num, scale int32) []byte {
	if number := n.BigInt(); scale == 0 && number.IsInt64() {
		return appendInt(dst, number.Int64())
	}
	text := decimalText(n.BigInt(), scale)
	if hasDigits(n, maxExactDecimal) {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), text...), '"')
}

// decimalText returns n / 10^scale with all digits of the scale.
func decimalText(n *big.Int, scale int32) string {
	digits := n.String()
	if scale <= 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := int(scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(scale)
	return sign + digits[:point] + "." + digits[point:]
}

// The suffixes of a time with a fraction of a second.
const (
	fraction    = ".000"
	fractionUTC = ".000Z"
)

// appendTime appends a time in UTC. suffix is empty, fraction or fractionUTC.
func appendTime(dst []byte, at time.Time, layout, suffix string) []byte {
	dst = at.UTC().AppendFormat(append(dst, '"'), layout)
	if suffix != "" {
		dst = appendFraction(dst, int64(at.Nanosecond()))
	}
	if suffix == fractionUTC {
		dst = append(dst, 'Z')
	}
	return append(dst, '"')
}

// appendClock appends a time of day, given in nanoseconds since midnight. It can be 24:00:00.
func appendClock(dst []byte, nanoseconds int64) []byte {
	seconds := nanoseconds / 1e9
	dst = fmt.Appendf(dst, "%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
	return appendFraction(dst, nanoseconds%1e9)
}

// appendFraction appends a fraction of a second with three, six or nine digits, as few as it needs.
func appendFraction(dst []byte, nanoseconds int64) []byte {
	switch {
	case nanoseconds%1e6 == 0:
		return fmt.Appendf(dst, ".%03d", nanoseconds/1e6)
	case nanoseconds%1e3 == 0:
		return fmt.Appendf(dst, ".%06d", nanoseconds/1e3)
	}
	return fmt.Appendf(dst, ".%09d", nanoseconds)
}

// intervalText returns an interval as DuckDB shows it, such as "1 year 2 months 3 days 04:05:06.5".
func intervalText(v arrow.MonthDayNanoInterval) string {
	var parts []string
	count := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if n != 1 && n != -1 {
			unit += "s"
		}
		parts = append(parts, strconv.FormatInt(n, 10)+" "+unit)
	}
	count(int64(v.Months/12), "year")
	count(int64(v.Months%12), "month")
	count(int64(v.Days), "day")
	if v.Nanoseconds != 0 || len(parts) == 0 {
		sign, rest := "", v.Nanoseconds
		if rest < 0 {
			sign, rest = "-", -rest
		}
		clock := time.Unix(0, rest%int64(time.Hour)).UTC().Format("04:05.999999999")
		hours := strconv.FormatInt(rest/int64(time.Hour), 10)
		if len(hours) < 2 {
			hours = "0" + hours
		}
		parts = append(parts, sign+hours+":"+clock)
	}
	return strings.Join(parts, " ")
}

// appendDocument appends a JSON document as it is, without line breaks. A text that is not valid JSON becomes a string.
func appendDocument(dst []byte, text string) []byte {
	if !json.Valid([]byte(text)) {
		return appendText(dst, text)
	}
	start := len(dst)
	out := bytes.NewBuffer(dst)
	_ = json.Compact(out, []byte(text)) // cannot fail, since the text is valid; a line break in it would end an NDJSON row
	return escapeLineEnds(out.Bytes(), start)
}

// escapeLineEnds escapes the characters of escapeOf in dst[start:], a JSON document. They occur only in its strings.
func escapeLineEnds(dst []byte, start int) []byte {
	if !bytes.ContainsAny(dst[start:], "\u0085\u2028\u2029") {
		return dst
	}
	var escaped []byte
	for _, r := range string(dst[start:]) {
		if escape := escapeOf(r); escape != "" {
			escaped = append(escaped, escape...)
		} else {
			escaped = utf8.AppendRune(escaped, r)
		}
	}
	return append(dst[:start], escaped...)
}

// escapeOf returns the JSON escape of a character beyond ASCII, or "" if it needs none. Some readers of NDJSON end a
// line at the three characters.
func escapeOf(r rune) string {
	switch r {
	case '\u0085':
		return `\u0085`
	case '\u2028':
		return `\u2028`
	case '\u2029':
		return `\u2029`
	}
	return ""
}

// appendText appends a JSON string. Invalid UTF-8 becomes the replacement character.
func appendText(dst []byte, text string) []byte {
	dst = append(dst, '"')
	plain := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(text[i:])
			escape := escapeOf(r)
			if r == utf8.RuneError && size == 1 {
				escape = `\ufffd`
			}
			if escape != "" {
				dst = append(append(dst, text[plain:i]...), escape...)
				plain = i + size
			}
			i += size
			continue
		}
		dst = append(dst, text[plain:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\r':
			dst = append(dst, `\r`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		}
		i++
		plain = i
	}
	return append(append(dst, text[plain:]...), '"')
}
