package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/voicory/warehouse/warehouse/schema"
)

// A jsonReader reads the rows of a JSON text of any shape: objects one after another, each on a line of its own or
// printed over several lines; arrays of objects; envelopes, which are objects with the rows in the member data, as in a
// page of the API; and any sequence of these. Commas may separate them. The text is read to its end.
//
// A row at the top level has the number of its line, and an element of a list the number after that of the row before
// it. Numbers increase from row to row.
//
// An invalid row is refused alone. The reader only looks for the end of a row, and the warehouse parses it. A row whose
// end is missing is recognized at the next line that begins a row (see jsonScanner).
type jsonReader struct {
	in     *bufio.Reader
	scan   jsonScanner
	list   listState
	stack  []listState // states after the end of the list, the innermost last
	atRow  bool        // in is at the start of a row
	any    bool        // the text had a value at the top level
	lists  bool        // the text had a list
	lines  int64       // line breaks read
	number int64       // number of the last row
	indent int         // white space before the next byte of in on its line, in bytes
	text   []byte      // buffer for a row that is not wholly in the buffer of in
	clean  []byte      // buffer for a row without its duplicate keys
	err    error       // io.EOF at the end of the text, or the error that ended the reading
}

// A listState is the place of a jsonReader in an array or envelope.
type listState int

const (
	topLevel     listState = iota
	arrayStart             // after the opening bracket of a list
	arrayElement           // after a comma
	arrayNext              // after an element
	envelopeRow            // before the only row of an envelope
	envelopeRest           // after the rows of an envelope
)

func newJSONReader(in io.Reader, dataset schema.Dataset) *jsonReader {
	return &jsonReader{in: skipBOM(in), scan: jsonScanner{envelope: []string{`"data"`, `"` + dataset.Name + `"`}}}
}

// more reports whether another row may follow. It reads up to the start of that row.
func (r *jsonReader) more() bool {
	for r.err == nil && !r.atRow {
		r.advance()
	}
	return r.err == nil
}

// skip sets the number of the next row, and returns how many numbers it leaves out after the number of the last row.
func (r *jsonReader) skip() int64 {
	if !r.more() {
		return 0
	}
	before := r.number
	if r.number++; r.list == topLevel {
		r.number = max(r.number, r.lines+1)
	}
	return r.number - before - 1
}

// failure returns the error that ended the reading early, or nil.
func (r *jsonReader) failure() error { return ignoreEOF(r.err) }

// unit returns the unit of the numbers of rows.
func (r *jsonReader) unit() string {
	if r.lists {
		return "row"
	}
	return "line"
}

// advance reads white space, and one delimiter or the rest of an envelope. It sets atRow at the start of a row.
func (r *jsonReader) advance() {
	if r.list == envelopeRest {
		r.skipEnvelope()
		return
	}
	r.skipBlank()
	next, err := r.in.Peek(1)
	if err != nil {
		if r.err = err; r.list != topLevel {
			r.err = unexpectedEOF(err)
		}
		return
	}
	b := next[0]
	unexpected := func() { r.err = fmt.Errorf("unexpected %q in the JSON array", b) }
	switch r.list {
	case topLevel:
		switch {
		case b == '[':
			r.discardByte()
			r.any, r.lists, r.list = true, true, arrayStart
		case b == ',' && r.any:
			r.discardByte()
		default:
			r.any, r.atRow = true, true
		}
	case envelopeRow:
		r.atRow = true
	case arrayNext:
		if r.discardByte(); b == ']' {
			r.closeList()
		} else if r.list = arrayElement; b != ',' {
			unexpected()
		}
	case arrayStart, arrayElement:
		switch {
		case b == ']' && r.list == arrayStart:
			r.discardByte()
			r.closeList()
		case b == ']' || b == ',' || b == '}':
			unexpected()
		default:
			r.atRow = true
		}
	}
}

// closeList sets the state after the end of a list.
func (r *jsonReader) closeList() {
	r.list = topLevel
	if n := len(r.stack); n > 0 {
		r.list, r.stack = r.stack[n-1], r.stack[:n-1]
	}
}

// discardByte reads a buffered byte that is not white space.
func (r *jsonReader) discardByte() {
	_, _ = r.in.Discard(1) // cannot fail: the byte is buffered
	r.indent++
}

// blank holds the bytes between values: white space, and the separator of JSON text sequences (RFC 7464).
const blank = whiteSpace + "\x1e"

// skipBlank reads white space. It works on whole buffers, because a small compressed input can expand to gigabytes of
// blank lines.
func (r *jsonReader) skipBlank() {
	for {
		if _, err := r.in.Peek(1); err != nil {
			return
		}
		buffered, _ := r.in.Peek(r.in.Buffered()) // cannot fail: the bytes are buffered
		n := len(buffered) - len(bytes.TrimLeft(buffered, blank))
		r.passed(buffered[:n])
		_, _ = r.in.Discard(n)
		if n < len(buffered) {
			return
		}
	}
}

// passed counts the line breaks in text and sets the indent after it.
func (r *jsonReader) passed(text []byte) {
	if n := bytes.Count(text, []byte{'\n'}); n > 0 {
		r.lines += int64(n)
		r.indent = len(text) - bytes.LastIndexByte(text, '\n') - 1
	} else {
		r.indent += len(text)
	}
}

// read returns the next row. A row longer than maxLine is cut off and has the defect lineTooLong.
func (r *jsonReader) read() (text []byte, defect string, ok bool) {
	for r.more() {
		r.atRow = false
		text, defect, end := r.value()
		switch end {
		case scanFailed:
			return nil, "", false
		case scanEnvelope: // its rows follow
			continue
		}
		if defect == "" && r.scan.suspect {
			r.clean = withoutDuplicateKeys(r.clean[:0], text)
			text = r.clean
		}
		return text, defect, true
	}
	return nil, "", false
}

// value reads one value, and sets the state after it. text is valid until the next read.
func (r *jsonReader) value() (text []byte, defect string, end scanEnd) {
	next, _ := r.in.Peek(1) // cannot fail: more has buffered it
	inList := r.list != topLevel
	if !inList && next[0] != '{' {
		text, defect, end = r.restOfLine(nil, "")
		return text, defect, end
	}
	r.scan.start(inList, len(r.stack) < maxEnvelopes, r.indent)
	r.text = r.text[:0]
	whole := true // the value is in the buffer of in so far
	for {
		if _, err := r.in.Peek(1); err != nil {
			return r.cutOff(err, defect)
		}
		buffered, _ := r.in.Peek(r.in.Buffered()) // cannot fail: the bytes are buffered
		n, end := r.scan.scan(buffered)
		part := buffered[:n]
		r.passed(part)
		_, _ = r.in.Discard(n) // part stays valid until in is read again
		if whole && end != scanMore && len(part) <= maxLine {
			text = part
		} else if whole = false; len(r.text)+len(part) > maxLine {
			defect, text = lineTooLong, r.text
		} else if defect == "" {
			r.text = append(r.text, part...)
			text = r.text
		}
		switch end {
		case scanMore:
			continue
		case scanInvalid:
			return r.restOfLine(bytes.Clone(text), defect)
		case scanEnvelope:
			r.openEnvelope()
		case scanValue, scanUnfinished:
			r.afterValue(end)
		}
		return text, defect, end
	}
}

// afterValue sets the state after a row of a list.
func (r *jsonReader) afterValue(end scanEnd) {
	switch {
	case r.list == envelopeRow:
		r.closeList()
	case r.list != topLevel && end == scanUnfinished:
		r.list = arrayElement
	case r.list != topLevel:
		r.list = arrayNext
	}
}

// maxEnvelopes bounds the depth of envelopes in envelopes and arrays.
const maxEnvelopes = 8

// openEnvelope sets the state at the start of the rows of an envelope: in a list, or one object.
func (r *jsonReader) openEnvelope() {
	switch r.list {
	case topLevel:
		r.stack = append(r.stack, topLevel)
	case arrayStart, arrayElement:
		r.stack = append(r.stack, arrayNext)
	}
	r.stack = append(r.stack, envelopeRest)
	r.list = envelopeRow
	if next, err := r.in.Peek(1); err == nil && next[0] == '[' {
		r.discardByte()
		r.lists, r.list = true, arrayStart
	}
}

// skipEnvelope reads the rest of an envelope after its rows.
func (r *jsonReader) skipEnvelope() {
	r.scan.resume()
	for {
		if _, err := r.in.Peek(1); err != nil {
			r.err = unexpectedEOF(err)
			return
		}
		buffered, _ := r.in.Peek(r.in.Buffered()) // cannot fail: the bytes are buffered
		n, end := r.scan.scan(buffered)
		r.passed(buffered[:n])
		_, _ = r.in.Discard(n)
		if end != scanMore {
			r.closeList()
			return
		}
	}
}

// cutOff returns the start of a value whose end is missing because the text ends. At the top level, the start is a row,
// which the warehouse refuses.
func (r *jsonReader) cutOff(err error, defect string) ([]byte, string, scanEnd) {
	r.err = err
	if r.list != topLevel || ignoreEOF(err) != nil {
		r.err = unexpectedEOF(err)
		return nil, "", scanFailed
	}
	r.scan.suspect = false
	return r.text, defect, scanUnfinished
}

// restOfLine reads up to the end of the line and returns it after text, which it owns.
func (r *jsonReader) restOfLine(text []byte, defect string) ([]byte, string, scanEnd) {
	r.scan.suspect = false
	for {
		part, err := r.in.ReadSlice('\n')
		r.passed(part)
		if len(text)+len(part) > maxLine {
			defect = lineTooLong
		} else {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err == nil, ignoreEOF(err) == nil && len(text) > 0:
			return text, defect, scanUnfinished
		default:
			r.err = err
			return nil, "", scanFailed
		}
	}
}

// unexpectedEOF returns io.ErrUnexpectedEOF if err is io.EOF, and err otherwise. It is for places where the input
// must not end.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
