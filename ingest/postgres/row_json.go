package postgres

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// A columnEncoder appends the values of a column to a JSON object.
type columnEncoder struct {
	name     []byte // JSON string and a colon
	encoding encoding
}

// An encoding is a way to encode the values of a column as JSON.
type encoding int

const (
	encodeText     encoding = iota // string, escaped
	encodeVerbatim                 // JSON on one line (jsonb)
	encodeDocument                 // JSON that may contain line breaks (json)
	encodeNumber
	encodeBoolean
	encodeTime
	encodePlain // string without characters to escape
)

// format returns the wire format: text, but binary for times. Printing times is slow in PostgreSQL, and not in RFC
// 3339.
func (f columnEncoder) format() int16 {
	if f.encoding == encodeTime {
		return pgtype.BinaryFormatCode
	}
	return pgtype.TextFormatCode
}

// newColumnEncoder returns the encoder of a column with the given type.
func newColumnEncoder(name string, oid uint32) columnEncoder {
	f := columnEncoder{name: append(appendText(nil, []byte(name)), ':')}
	switch oid {
	case pgtype.JSONBOID:
		f.encoding = encodeVerbatim
	case pgtype.JSONOID:
		f.encoding = encodeDocument
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		f.encoding = encodeNumber
	case pgtype.BoolOID:
		f.encoding = encodeBoolean
	case pgtype.TimestamptzOID:
		f.encoding = encodeTime
	case pgtype.UUIDOID:
		f.encoding = encodePlain
	}
	return f
}

// appendRow appends the row as a JSON object on one line.
func appendRow(line []byte, fields []columnEncoder, decoder textDecoder, values [][]byte) []byte {
	for i, f := range fields {
		line = append(line, "{,"[min(i, 1)])
		line = append(line, f.name...)
		if values[i] == nil {
			line = append(line, "null"...)
			continue
		}
		value := values[i]
		if f.encoding != encodeTime {
			value = decoder.bytes(value)
		}
		line = f.append(line, value)
	}
	return append(line, "}\n"...)
}

// append appends a value that is not NULL.
func (f columnEncoder) append(line, value []byte) []byte {
	switch f.encoding {
	case encodeVerbatim:
		return append(line, value...)
	case encodeDocument:
		return appendDocument(line, value)
	case encodeNumber:
		if last := value[len(value)-1]; last < '0' || last > '9' { // NaN, Infinity
			return appendText(line, value)
		}
		return append(line, value...)
	case encodeBoolean:
		if value[0] == 't' {
			return append(line, "true"...)
		}
		return append(line, "false"...)
	case encodeTime:
		return appendTime(line, int64(binary.BigEndian.Uint64(value)))
	case encodePlain:
		return append(append(append(line, '"'), value...), '"')
	}
	return appendText(line, value)
}

// appendDocument appends JSON and replaces its line breaks by spaces. Strings are not affected, because JSON escapes
// line breaks in them.
func appendDocument(line, value []byte) []byte {
	from := len(line)
	line = append(line, value...)
	for i := from; i < len(line); i++ {
		if line[i] == '\n' || line[i] == '\r' {
			line[i] = ' '
		}
	}
	return line
}

// postgresEpoch is 2000-01-01 UTC in Unix seconds. PostgreSQL counts microseconds from then.
const postgresEpoch = 946_684_800

// appendTime appends a time in RFC 3339 with microseconds, in UTC, or "infinity" or "-infinity".
func appendTime(line []byte, micros int64) []byte {
	switch micros {
	case math.MaxInt64:
		return append(line, `"infinity"`...)
	case math.MinInt64:
		return append(line, `"-infinity"`...)
	}
	line = append(line, '"')
	line = time.Unix(postgresEpoch+micros/1e6, micros%1e6*1e3).UTC().AppendFormat(line, time.RFC3339Nano)
	return append(line, '"')
}

// needsEscape has an entry for each byte that must be escaped in a JSON string.
var needsEscape = func() (table [256]bool) {
	for b := range 0x20 {
		table[b] = true
	}
	table['"'], table['\\'] = true, true
	return table
}()

// appendText appends value as a JSON string. It does not check the encoding, because PostgreSQL has done so.
func appendText(line, value []byte) []byte {
	const hex = "0123456789abcdef"
	line = append(line, '"')
	from := 0
	for i, b := range value {
		if !needsEscape[b] {
			continue
		}
		line = append(line, value[from:i]...)
		from = i + 1
		switch b {
		case '"', '\\':
			line = append(line, '\\', b)
		case '\n':
			line = append(line, `\n`...)
		case '\r':
			line = append(line, `\r`...)
		case '\t':
			line = append(line, `\t`...)
		default:
			line = append(line, `\u00`...)
			line = append(line, hex[b>>4], hex[b&15])
		}
	}
	line = append(line, value[from:]...)
	return append(line, '"')
}
