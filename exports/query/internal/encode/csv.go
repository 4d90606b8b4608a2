package encode

import (
	"encoding/json"
	"strings"
)

// newCSV returns an encoder of CSV as RFC 4180 describes it, except that a line ends with a line feed alone. A NULL is
// an empty field, and an empty text is "".
func newCSV(out *Sink, columns []Column) (*rowEncoder, error) {
	var head []byte
	for i, c := range columns {
		if i > 0 {
			head = append(head, ',')
		}
		head = appendCSVField(head, c.Name)
	}
	if err := out.begin(append(head, '\n'), 0); err != nil {
		return nil, err
	}
	var value []byte
	cell := func(of appender, dst []byte, i int) []byte {
		value = of(value[:0], i)
		switch value[0] {
		case 'n': // null
			return dst
		case '"':
			var text string
			if json.Unmarshal(value, &text) == nil { // always true for a JSON string
				return appendCSVField(dst, text)
			}
		case '[', '{':
			return appendCSVField(dst, string(value))
		}
		return append(dst, value...)
	}
	return &rowEncoder{
		out: out, columns: columns, closing: "\n", prefixes: commaPrefixes(len(columns)), cell: cell,
	}, nil
}

// appendCSVField appends a CSV field, in quotes if it is empty or has special characters.
func appendCSVField(dst []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\r\n") {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}
