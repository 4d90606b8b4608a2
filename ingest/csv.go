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

	"github.com/voicory/warehouse/warehouse/schema"
)

// A csvReader reads CSV (RFC 4180, with a header line) and returns each record as a JSON object. A field becomes a
// string, or the JSON value it holds if the dataset stores JSON there. An empty field is left out. An invalid record
// is refused alone. The reader holds one record in memory at a time.
type csvReader struct {
	lineReader
	dataset schema.Dataset
	columns []csvColumn // nil until the header is read
	unknown []string    // columns that the dataset does not have; nil after the first row, which names them
	lines   int64       // lines of the last record after its first line; all lines if it is the header
	record  []byte      // current record, with its line break
	fields  [][]byte    // unquoted fields of record
	row     []byte      // record as a JSON object
}

// A csvColumn describes a column of the file.
type csvColumn struct {
	prefix string // JSON name and colon; empty if the column is not kept
	json   bool   // the dataset stores JSON in this column
}

const (
	maxCSVColumns = 2000
	// Maximum number of unknown columns that are reported, and maximum length of such a name in bytes. Both are above
	// the limits of the warehouse.
	maxCSVUnknown     = 64
	maxCSVUnknownName = 400
)

func newCSVReader(in io.Reader, dataset schema.Dataset) *csvReader {
	return &csvReader{lineReader: lineReader{in: skipBOM(in)}, dataset: dataset}
}

// more reports whether another record may follow. The first call reads the header.
func (r *csvReader) more() bool {
	if r.columns == nil && r.err == nil {
		r.lines += r.lineReader.skip()
		if r.lineReader.more() {
			if err := r.readHeader(); err != nil {
				r.err = err
			}
		}
	}
	return r.lineReader.more()
}

// readHeader reads the header line and sets columns and unknown.
func (r *csvReader) readHeader() error {
	before := r.lines
	tooLong, ok := r.readRecord()
	r.lines += before + 1
	switch {
	case !ok:
		return firstError(r.err, errors.New("the header line is missing"))
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
			return fmt.Errorf("column %q occurs twice", name)
		case typ != "":
			kept = append(kept, name)
			r.columns[i] = csvColumn{`"` + name + `":`, typ == "JSON"} // names of fields need no escapes
		case !known && len(field) > 0 && len(r.unknown) < maxCSVUnknown:
			shown := string(field[:min(len(field), maxCSVUnknownName)])
			r.unknown = append(r.unknown, strings.ToValidUTF8(shown, ""))
		}
	}
	return nil
}

// firstError returns err, or other if err is nil or io.EOF.
func firstError(err, other error) error {
	if ignoreEOF(err) != nil {
		return err
	}
	return other
}

// skip discards blank lines and returns their number, plus the lines of the previous record after its first line.
func (r *csvReader) skip() int64 {
	if !r.more() {
		return 0
	}
	lines := r.lines
	r.lines = 0
	return lines + r.blankLines()
}

// blankLines discards blank lines and returns their number. It keeps spaces and tabs at the start of a line, which
// belong to the first field.
func (r *csvReader) blankLines() (lines int64) {
	for r.lineReader.more() {
		buffered, _ := r.in.Peek(r.in.Buffered()) // cannot fail: the bytes are buffered
		blank := len(buffered) - len(bytes.TrimLeft(buffered, "\r\n"))
		lines += int64(bytes.Count(buffered[:blank], []byte{'\n'}))
		_, _ = r.in.Discard(blank)
		if blank < len(buffered) {
			break
		}
	}
	return lines
}

// read returns the next record as a JSON object, or as it is with a defect if it is invalid.
func (r *csvReader) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	tooLong, ok := r.readRecord()
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
		defect = fmt.Sprintf("line is not CSV: it has %d fields, the header has %d", len(r.fields), len(r.columns))
		return r.record, defect, true
	}
	r.toJSON()
	return r.row, "", true
}

// readRecord reads a record up to the first line break outside quotes. The rest of a record longer than maxLine is
// discarded and tooLong is true. ok is false at the end, and for a record that is cut off by an error of the input.
func (r *csvReader) readRecord() (tooLong, ok bool) {
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

// split sets fields to the unquoted fields of the record.
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

// cutField returns the first field of text without its quotes, and the rest of text from the comma on.
func cutField(text []byte) (field, after []byte, err error) {
	if len(text) == 0 || text[0] != '"' {
		end := bytes.IndexByte(text, ',')
		if end < 0 {
			end = len(text)
		}
		if bytes.IndexByte(text[:end], '"') >= 0 {
			return nil, nil, errors.New("there is a quote in an unquoted field")
		}
		return text[:end], text[end:], nil
	}
	text = text[1:]
	for from := 0; ; {
		end := bytes.IndexByte(text[from:], '"')
		if end < 0 {
			return nil, nil, errors.New("a quoted field is not closed")
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

// toJSON sets row to the JSON object of the fields. The first row also names the unknown columns, with null values.
func (r *csvReader) toJSON() {
	r.row = append(r.row[:0], '{')
	for _, name := range r.unknown {
		text, _ := json.Marshal(name) // cannot fail for a string
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
			r.row = appendText(r.row, field) // invalid JSON is kept as a string
		}
		r.row = append(r.row, ',')
	}
	r.row = append(bytes.TrimSuffix(r.row, []byte(",")), '}')
}

// appendText appends text to row as a JSON string.
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
