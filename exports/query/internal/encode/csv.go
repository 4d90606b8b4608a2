package encode

import (
	"encoding/json"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
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
	return &rowEncoder{
		out: out, columns: columns, closing: "\n", prefixes: commaPrefixes(len(columns)), cell: csvAppender,
	}, nil
}

// csvAppender returns the appender of CSV fields: the JSON of a value, a string without its quotes. A JSON value is its
// document, so that the document null differs from NULL.
func csvAppender(values arrow.Array, t *Type) appender {
	if union, ok := values.(*array.SparseUnion); ok {
		members := make([]appender, union.NumFields())
		for i, m := range t.Members {
			members[i] = csvAppender(union.Field(i), m.Type)
		}
		return func(dst []byte, i int) []byte { return members[union.ChildID(i)](dst, i) }
	}
	var value []byte
	of := nonNullAppender(values, t)
	return func(dst []byte, i int) []byte {
		if values.IsNull(i) {
			return dst
		}
		value = of(value[:0], i)
		if text := ""; t.ID != typeJSON && value[0] == '"' && json.Unmarshal(value, &text) == nil {
			return appendCSVField(dst, text)
		}
		return appendCSVField(dst, string(value))
	}
}

// appendCSVField appends a CSV field, in quotes if it is empty or has special characters.
func appendCSVField(dst []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\r\n") {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}
