package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A csvReader reads CSV with a header line and returns each record as a JSON object. A field becomes a string, or the
// JSON value it holds if the dataset stores JSON there. A missing value is left out. The header shows the delimiter.
// Lines end with LF, CR LF or CR, in any mixture. A quote within an unquoted field is an ordinary character.
//
// Fields after the last column may be empty. An invalid record is refused alone. If it has several lines, only its
// first line is refused, and the next line begins a record, so that a quote that is never closed costs one row. Each
// line is read at most twice because of that: a record that begins at a line with an odd number of quotes ends at the
// next such line at the latest.
type csvReader struct {
	in        io.Reader
	buffer    []byte // bytes from start to end were read from in and not yet returned
	start     int
	end       int
	dataset   schema.Dataset
	delimiter byte        // 0 until the header is read
	ends      [256]bool   // bytes that end an unquoted field
	columns   []csvColumn // nil until the header is read
	header    []string    // names of the columns
	heading   string      // text of the header, which a line needs to be read alone
	unknown   []string    // columns that the dataset does not have; nil after the first row, which names them
	lines     int64       // line breaks since the last record, and those within it
	fields    [][]byte    // unquoted fields of the last record, at most mostFields
	count     int         // number of its fields
	// mostFields is the maximum number of fields that are kept of a record. After the header it is a bound above the
	// number of columns.
	mostFields int
	row        []byte // last record as a JSON object
	err        error  // io.EOF at the end, or the error that ended the reading
}

// A csvColumn describes a column of the file.
type csvColumn struct {
	prefix string // JSON name and colon; empty if the column is not kept
	typ    string // type of the field
}

const (
	// maxCSVHeader is the maximum length of the header in bytes. It bounds the number of columns.
	maxCSVHeader = 1 << 20
	// maxEmptyFields is the maximum number of empty fields after the last column.
	maxEmptyFields = 2000
	// Maximum number of unknown columns that are reported, and maximum length of such a name in bytes. Both are above
	// the limits of the warehouse.
	maxCSVUnknown     = 64
	maxCSVUnknownName = 400
	// smallRecord is a size in bytes. An incomplete record above it is scanned again only when its length in the buffer
	// has doubled. This bounds the work on a large record that arrives in small parts.
	smallRecord = 64 << 10
)

// csvDelimiters lists the delimiters that are looked for, in the order of preference.
const csvDelimiters = ",;\t|"

func newCSVReader(in io.Reader, dataset schema.Dataset) *csvReader {
	r := &csvReader{in: skipBOM(in), buffer: make([]byte, 256<<10), dataset: dataset, mostFields: maxCSVHeader}
	r.setDelimiters(csvDelimiters)
	return r
}

// setDelimiters sets ends.
func (r *csvReader) setDelimiters(delimiters string) {
	r.ends = [256]bool{'\r': true, '\n': true}
	for _, c := range []byte(delimiters) {
		r.ends[c] = true
	}
}

// fill reads more bytes into the buffer, which grows up to twice maxLine. It returns false if the input has ended, or
// if more than maxLine bytes are in the buffer.
func (r *csvReader) fill() bool {
	if r.err != nil || r.end-r.start > maxLine {
		return false
	}
	if r.start > 0 {
		copy(r.buffer, r.buffer[r.start:r.end])
		r.start, r.end = 0, r.end-r.start
	}
	if r.end == len(r.buffer) {
		r.buffer = slices.Concat(r.buffer, make([]byte, len(r.buffer)))
	}
	n, err := r.in.Read(r.buffer[r.end:])
	r.end += n
	r.err = err
	return n > 0 || err == nil
}

// ended reports whether all bytes of the input are in the buffer.
func (r *csvReader) ended() bool { return r.err != nil && r.failure() == nil }

// failure returns the error that ended the reading early, or nil.
func (r *csvReader) failure() error { return ignoreEOF(r.err) }

// more reports whether another record may follow. The first call reads the header.
func (r *csvReader) more() bool {
	if r.columns == nil {
		r.columns = []csvColumn{}
		if err := r.readHeader(); err != nil {
			r.start, r.end, r.err = 0, 0, err
		}
	}
	for r.start == r.end {
		if !r.fill() {
			return false
		}
	}
	return true
}

// separatorLine matches a first line that names the delimiter, as spreadsheets write it.
var separatorLine = regexp.MustCompile(`^(?i)"?sep=([\t!#-/:-@\[-` + "`" + `{-~])"?[\r\n]*$`)

// skip discards blank lines and returns their number, plus the lines of the previous record after its first line.
func (r *csvReader) skip() int64 {
	if !r.more() {
		return 0
	}
	lines := r.lines + r.blankLines()
	r.lines = 0
	return lines
}

// blankLines discards blank lines and returns their number. It keeps spaces and tabs at the start of a line, which
// belong to the first field.
func (r *csvReader) blankLines() (lines int64) {
	for {
		for r.start == r.end {
			if !r.fill() {
				return lines
			}
		}
		switch r.buffer[r.start] {
		case '\n':
			lines++
		case '\r':
			for r.start+1 == r.end && r.fill() {
			}
			if r.start+1 == r.end || r.buffer[r.start+1] != '\n' {
				lines++
			}
		default:
			return lines
		}
		r.start++
	}
}

// read returns the next record as a JSON object, or as it is with a defect if it is invalid.
func (r *csvReader) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	length, lines, defect, ok := r.scan()
	if !ok {
		return nil, "", false
	}
	record := r.buffer[r.start : r.start+length]
	if defect == "" && (r.count < len(r.columns) || !areEmpty(r.fields[len(r.columns):]) || r.count > len(r.fields)) {
		defect = fmt.Sprintf("it has %d fields, the header has %d", r.count, len(r.columns))
	}
	switch {
	case defect == lineTooLong:
		record = bytes.Clone(record[:smallRecord])
		r.start += length
		r.discardLine()
		return record, defect, true
	case defect != "":
		if lines > 0 {
			record = record[:firstLine(record)]
		}
		r.start += len(record)
		return record, "line is not CSV: " + defect, true
	}
	r.start += length
	r.lines += lines
	if areEmpty(r.fields) {
		return nil, "", true // like a blank line; spreadsheets write such lines after the last row
	}
	r.toJSON()
	return r.row, "", true
}

// areEmpty reports whether all fields are empty.
func areEmpty(fields [][]byte) bool {
	return !slices.ContainsFunc(fields, func(field []byte) bool { return len(field) > 0 })
}

// firstLine returns the length of the first line of text, with its line break.
func firstLine(text []byte) int {
	end := bytes.IndexAny(text, "\r\n")
	if end < 0 {
		return len(text)
	}
	if bytes.HasPrefix(text[end:], []byte("\r\n")) {
		end++
	}
	return end + 1
}

// discardLine discards the rest of a line.
func (r *csvReader) discardLine() {
	for {
		if end := bytes.IndexAny(r.buffer[r.start:r.end], "\r\n"); end >= 0 {
			r.start += end
			r.lines-- // blankLines counts the line break
			return
		}
		r.start = r.end
		if !r.fill() {
			return
		}
	}
}

// scan splits the record at start. It returns its length with its line break, the number of line breaks within it, and
// the defect of an invalid record. ok is false for a record that is cut off by an error of the input.
func (r *csvReader) scan() (length int, lines int64, defect string, ok bool) {
	for {
		text := r.buffer[r.start:r.end]
		if length, lines, defect, ok = r.split(text, r.ended()); ok && length <= maxLine {
			return length, lines, defect, ok
		} else if ok {
			break
		}
		wanted := len(text) + 1
		if len(text) > smallRecord {
			wanted = 2 * len(text)
		}
		for r.end-r.start < wanted && r.fill() {
		}
		switch {
		case r.end-r.start > len(text), r.ended():
			continue
		case r.err != nil:
			r.start = r.end
			return 0, 0, "", false
		}
		break
	}
	text := r.buffer[r.start:r.end]
	if end := firstLine(text); end < maxLine {
		return end, 0, "a quoted field has more than 16 MiB", true
	}
	return maxLine, 0, lineTooLong, true
}

// split sets fields to the unquoted fields of the record at the start of text. It returns the length of the record with
// its line break, and the number of line breaks within it. An invalid record has a defect, and ends with the line of
// the defect. ok is false if the end of the record is not in text, unless final is true: text then ends with the input.
func (r *csvReader) split(text []byte, final bool) (length int, lines int64, defect string, ok bool) {
	r.fields, r.count = r.fields[:0], 0
	for i := 0; ; i++ { // i is the start of a field
		from, quote := i, i
		for quote < len(text) && text[quote] == ' ' {
			quote++
		}
		if quote < len(text) && text[quote] == '"' {
			field, length, defect, ok := cutQuoted(text[quote:], &r.ends, final)
			if !ok {
				return 0, 0, "", false
			}
			lines += countLines(text[quote : quote+length])
			if i = quote + length; defect != "" {
				rest := firstLine(text[i:])
				return i + rest, lines, defect, final || i+rest < len(text)
			}
			r.addField(field)
		} else {
			for i < len(text) && !r.ends[text[i]] {
				i++
			}
			r.addField(text[from:i])
		}
		switch {
		case i == len(text):
			return i, lines, "", final
		case text[i] == '\r' && i+1 == len(text) && !final:
			return 0, 0, "", false
		case text[i] == '\r' || text[i] == '\n':
			return i + firstLine(text[i:min(i+2, len(text))]), lines, "", true
		}
	}
}

// addField adds a field to the record.
func (r *csvReader) addField(field []byte) {
	if r.count++; r.count <= r.mostFields {
		r.fields = append(r.fields, field)
	}
}

// cutQuoted returns the quoted field at the start of text without its quotes, and the length of the quoted field. ok is
// false if its end is not in text, unless final is true: text then ends with the input.
func cutQuoted(text []byte, ends *[256]bool, final bool) (field []byte, length int, defect string, ok bool) {
	escaped := false
	for i := 1; ; i += 2 {
		end := bytes.IndexByte(text[i:], '"')
		if end < 0 {
			return nil, len(text), "a quoted field is not closed", final
		}
		i += end
		if i+1 == len(text) && !final {
			return nil, 0, "", false
		}
		if i+1 < len(text) && text[i+1] == '"' {
			escaped = true
			continue
		}
		if field = text[1:i]; escaped {
			field = bytes.ReplaceAll(field, []byte(`""`), []byte(`"`))
		}
		i++
		if i < len(text) && !ends[text[i]] {
			defect = "text follows a quoted field"
		}
		return field, i, defect, true
	}
}

// countLines returns the number of line breaks in text.
func countLines(text []byte) (lines int64) {
	for end := firstLine(text); end < len(text); end += firstLine(text[end:]) {
		lines++
	}
	return lines
}

// toJSON sets row to the JSON object of the fields. The first row also names the unknown columns, with null values.
func (r *csvReader) toJSON() {
	r.row = append(r.row[:0], '{')
	for _, name := range r.unknown {
		text, _ := json.Marshal(name) // cannot fail for a string
		r.row = append(append(r.row, text...), ":null,"...)
	}
	r.unknown = nil
	for i, column := range r.columns {
		field := r.fields[i]
		if column.prefix == "" || len(field) == 0 || column.typ != "VARCHAR" && isMissing(field) {
			continue
		}
		r.row = append(r.row, column.prefix...)
		switch column.typ {
		case "JSON":
			if compact := bytes.NewBuffer(r.row); json.Compact(compact, field) == nil {
				r.row = compact.Bytes()
			} else {
				r.row = appendText(r.row, field) // invalid JSON is kept as a string
			}
		case "DOUBLE", "DECIMAL(10,4)", "INTEGER", "BIGINT":
			if r.delimiter != ',' && decimalComma.Match(field) {
				field = bytes.Replace(field, []byte(","), []byte("."), 1)
			}
			fallthrough
		default:
			r.row = appendText(r.row, field)
		}
		r.row = append(r.row, ',')
	}
	r.row = append(bytes.TrimSuffix(r.row, []byte(",")), '}')
}

// decimalComma matches a number with a comma before its decimals, as in countries where another character separates
// columns.
var decimalComma = regexp.MustCompile(`^\s*[+-]?[0-9]+,[0-9]+\s*$`)

// missingTexts are the texts that stand for a missing value in columns that do not hold text, in lower case.
var missingTexts = []string{"", "null", `\n`, "n/a", "#n/a", "na", "<na>", "nan", "nat", "none", "nil", "-", "--"}

// isMissing reports whether a field stands for a missing value.
func isMissing(field []byte) bool {
	const longest = 4
	field = bytes.TrimSpace(field)
	return len(field) <= longest && slices.Contains(missingTexts, strings.ToLower(string(field)))
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

// ParseCSVLine returns a record of a CSV file with the header as a JSON object, or the reason why it is not valid. It
// is a warehouse.LineParser.
func ParseCSVLine(dataset schema.Dataset, header, record string) (object, defect string) {
	rows := newCSVReader(strings.NewReader(header+"\n"+record), dataset)
	rows.skip()
	text, defect, ok := rows.read()
	switch {
	case !ok:
		return "", "line is not CSV: it is empty"
	case defect == "" && rows.more():
		return "", "line is not CSV: it has several records"
	}
	return string(text), defect
}
