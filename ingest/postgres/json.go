package postgres

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// field is a column of a result on its way into a JSON object.
type field struct {
	name []byte // with quotes and colon
	kind kind
}

// kind is how a column becomes JSON.
type kind int

const (
	text     kind = iota // escaped, in quotes
	verbatim             // JSON that PostgreSQL has written in one line
	document             // JSON as somebody else wrote it
	number
	boolean
	moment
	plain // text that needs no escape
)

// field's format is the text that PostgreSQL prints, but for times: printing those is its slowest, and a text is in its own style.
func (f field) format() int16 {
	if f.kind == moment {
		return pgtype.BinaryFormatCode
	}
	return pgtype.TextFormatCode
}

func newField(name string, oid uint32) field {
	f := field{name: append(appendText(nil, []byte(name)), ':')}
	switch oid {
	case pgtype.JSONBOID:
		f.kind = verbatim
	case pgtype.JSONOID:
		f.kind = document
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID:
		f.kind = number
	case pgtype.BoolOID:
		f.kind = boolean
	case pgtype.TimestamptzOID:
		f.kind = moment
	case pgtype.UUIDOID:
		f.kind = plain
	}
	return f
}

// appendRow appends the row as an object, in one line. A column that is NULL is null.
func appendRow(line []byte, fields []field, values [][]byte) []byte {
	for i, f := range fields {
		line = append(line, "{,"[min(i, 1)])
		line = append(line, f.name...)
		if values[i] == nil {
			line = append(line, "null"...)
			continue
		}
		line = f.append(line, values[i])
	}
	return append(line, "}\n"...)
}

func (f field) append(line, value []byte) []byte {
	switch f.kind {
	case verbatim:
		return append(line, value...)
	case document:
		return appendDocument(line, value)
	case number:
		if last := value[len(value)-1]; last < '0' || last > '9' { // NaN, Infinity
			return appendText(line, value)
		}
		return append(line, value...)
	case boolean:
		if value[0] == 't' {
			return append(line, "true"...)
		}
		return append(line, "false"...)
	case moment:
		return appendMoment(line, int64(binary.BigEndian.Uint64(value)))
	case plain:
		return append(append(append(line, '"'), value...), '"')
	}
	return appendText(line, value)
}

// appendDocument appends JSON without the line breaks that may stand between its values; within a text they are always escaped.
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

// epoch is 2000-01-01 UTC, from which PostgreSQL counts microseconds.
const epoch = 946_684_800

// appendMoment appends a time as RFC 3339 to the microsecond, in UTC, and one without end as PostgreSQL calls it.
func appendMoment(line []byte, micros int64) []byte {
	switch micros {
	case math.MaxInt64:
		return append(line, `"infinity"`...)
	case math.MinInt64:
		return append(line, `"-infinity"`...)
	}
	line = append(line, '"')
	line = time.Unix(epoch+micros/1e6, micros%1e6*1e3).UTC().AppendFormat(line, time.RFC3339Nano)
	return append(line, '"')
}

// escapes says which bytes a JSON text must not hold as they are.
var escapes = func() (table [256]bool) {
	for b := range 0x20 {
		table[b] = true
	}
	table['"'], table['\\'] = true, true
	return table
}()

// appendText appends a JSON text. PostgreSQL has checked that it is valid in its encoding.
func appendText(line, value []byte) []byte {
	const hex = "0123456789abcdef"
	line = append(line, '"')
	from := 0
	for i, b := range value {
		if !escapes[b] {
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
