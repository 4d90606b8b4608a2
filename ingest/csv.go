package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/voicory/warehouse/warehouse"
)

// csvReader reads the rows of CSV (RFC 4180, a header line) as JSON objects. A field becomes a text, or the JSON in it if the dataset has
// JSON there; an empty field counts as absent. A record that is not CSV is refused by itself. It holds one record at a time.
type csvReader struct {
	lineReader
	dataset warehouse.Dataset
	columns []csvColumn // nil before the header was read
	unknown []string    // names of columns that the dataset does not have; nil once the first row has named them
	lines   int64       // of the last record, but for its first; for the header all
	record  []byte
	fields  [][]byte
	row     []byte
}

// csvColumn is a column of the file.
type csvColumn struct {
	prefix string // its name as JSON, with a colon; empty: it is not kept
	json   bool
}

const (
	maxCSVColumns = 2000
	// Most unknown columns that are named, and most bytes of a name: more than the warehouse keeps of each.
	maxCSVUnknown     = 64
	maxCSVUnknownName = 400
)

func newCSVReader(in io.Reader, dataset warehouse.Dataset) *csvReader {
	return &csvReader{lineReader: lineReader{in: withoutMark(in)}, dataset: dataset}
}

func (r *csvReader) more() bool {
	if r.columns == nil && r.err == nil {
		r.lines += r.lineReader.skip()
		if r.lineReader.more() {
			if err := r.header(); err != nil {
				r.err = err
			}
		}
	}
	return r.lineReader.more()
}

// header reads the names of the columns.
func (r *csvReader) header() error {
	before := r.lines
	tooLong, ok := r.next()
	r.lines += before + 1
	switch {
	case !ok:
		return cmpError(r.err, errors.New("there is no header line"))
	case tooLong:
		return errors.New("the header line is longer than 16 MiB")
	case !utf8.Valid(r.record):
		return errors.New("the header line is not UTF-8")
	}
	if err := r.split(); err != nil {
		return fmt.Errorf("the header line is not CSV: %w", err)
	}
	if len(r.fields) > maxCSVColumns {
		return fmt.Errorf("it has more than %d columns", maxCSVColumns)
	}
	r.columns = make([]csvColumn, len(r.fields))
	var kept []string
	for i, field := range r.fields {
		name := strings.ToLower(string(field))
		typ, known := r.dataset.FieldType(name)
		switch {
		case slices.Contains(kept, name):
			return fmt.Errorf("there are two columns %q", name)
		case typ != "":
			kept = append(kept, name)
			r.columns[i] = csvColumn{`"` + name + `":`, typ == "JSON"} // no known name needs an escape
		case !known && len(field) > 0 && len(r.unknown) < maxCSVUnknown:
			r.unknown = append(r.unknown, strings.ToValidUTF8(string(field[:min(len(field), maxCSVUnknownName)]), ""))
		}
	}
	return nil
}

// cmpError returns the first error unless it is nil or the end of the input.
func cmpError(err, other error) error {
	if untilEnd(err) != nil {
		return err
	}
	return other
}

// skip also counts the lines of the record before, beyond its first.
func (r *csvReader) skip() int64 {
	if !r.more() {
		return 0
	}
	lines := r.lines
	r.lines = 0
	return lines + r.blankLines()
}

// blankLines passes over blank lines. White space that begins a line is part of its first field.
func (r *csvReader) blankLines() (lines int64) {
	for r.lineReader.more() {
		buffered, _ := r.in.Peek(r.in.Buffered()) // what is buffered can be peeked at
		blank := len(buffered) - len(bytes.TrimLeft(buffered, "\r\n"))
		lines += int64(bytes.Count(buffered[:blank], []byte{'\n'}))
		_, _ = r.in.Discard(blank)
		if blank < len(buffered) {
			break
		}
	}
	return lines
}

func (r *csvReader) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	tooLong, ok := r.next()
	switch {
	case !ok:
		return nil, "", false
	case tooLong:
		return r.record, lineTooLong, true
	}
	if err := r.split(); err != nil {
		return r.record, "line is not CSV: " + err.Error(), true
	}
	if len(r.fields) != len(r.columns) {
		return r.record, fmt.Sprintf("line is not CSV: it has %d fields, the header has %d", len(r.fields), len(r.columns)), true
	}
	r.toJSON()
	return r.row, "", true
}

// next reads a record, which ends with the first line break outside of quotes. A record that breaks off where the input breaks is none.
func (r *csvReader) next() (tooLong, ok bool) {
	r.record, r.lines = r.record[:0], 0
	quotes := 0
	for {
		part, err := r.in.ReadSlice('\n')
		quotes += bytes.Count(part, []byte{'"'})
		if tooLong = tooLong || len(r.record)+len(part) > maxLine; !tooLong {
			r.record = append(r.record, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil:
			r.err = err
			return tooLong, errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && len(r.record) > 0
		case quotes%2 == 0:
			return tooLong, true
		default:
			r.lines++
		}
	}
}

// split splits the record into its fields, without their quotes.
func (r *csvReader) split() error {
	r.fields = r.fields[:0]
	rest := bytes.TrimSuffix(bytes.TrimSuffix(r.record, []byte("\n")), []byte("\r"))
	for {
		field, after, err := cutField(rest)
		if err != nil {
			return err
		}
		r.fields = append(r.fields, field)
		if len(after) == 0 {
			return nil
		}
		rest = after[1:]
	}
}

// cutField returns the first field, and what follows it from the comma on.
func cutField(text []byte) (field, after []byte, err error) {
	if len(text) == 0 || text[0] != '"' {
		end := bytes.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		if bytes.IndexByte(text[:end], '"') >= 0 {
			return nil, nil, errors.New("there is a quote within a field without quotes")
		}
		return text[:end], text[end:], nil
	}
	text = text[1:]
	for from := 0; ; {
		end := bytes.IndexByte(text[from:], '"')
		if end < 0 {
			return nil, nil, errors.New("a quoted field has no end")
		}
		end += from
		if end+1 < len(text) && text[end+1] == '"' {
			from = end + 2
			continue
		}
		if after = text[end+1:]; len(after) > 0 && after[0] != ',' {
			return nil, nil, errors.New("text follows a quoted field")
		}
		field = text[:end]
		if from > 0 {
			field = bytes.ReplaceAll(field, []byte(`""`), []byte(`"`))
		}
		return field, after, nil
	}
}

// toJSON makes row the JSON object of the fields.
func (r *csvReader) toJSON() {
	r.row = append(r.row[:0], '{')
	for _, name := range r.unknown {
		text, _ := json.Marshal(name) // a string can be marshalled
		r.row = append(append(r.row, text...), ":null,"...)
	}
	r.unknown = nil
	for i, field := range r.fields {
		column := r.columns[i]
		if column.prefix == "" || len(field) == 0 {
			continue
		}
		r.row = append(r.row, column.prefix...)
		if !column.json {
			r.row = appendText(r.row, field)
		} else if trimmed := string(bytes.TrimSpace(field)); trimmed == "" || trimmed == "null" {
			r.row = append(r.row, "null"...)
		} else if compact := bytes.NewBuffer(r.row); json.Compact(compact, field) == nil {
			r.row = compact.Bytes()
		} else {
			r.row = appendText(r.row, field) // a text that is not JSON is itself the value
		}
		r.row = append(r.row, ',')
	}
	r.row = append(bytes.TrimSuffix(r.row, []byte(",")), '}')
}

// appendText appends a text as JSON.
func appendText(row, text []byte) []byte {
	row = append(row, '"')
	copied := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		row = append(row, text[copied:i]...)
		copied = i + 1
		if c == '"' || c == '\\' {
			row = append(row, '\\', c)
		} else {
			row = fmt.Appendf(row, `\u%04x`, c)
		}
	}
	return append(append(row, text[copied:]...), '"')
}
