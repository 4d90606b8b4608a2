package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// An arrayReader reads the elements of one JSON array as rows. It scans an element only for its end. The warehouse
// parses elements and refuses invalid ones; a syntax error between elements ends the reading.
type arrayReader struct {
	in      *bufio.Reader
	text    []byte // current element; reused by each read
	started bool
	err     error // io.EOF at the end of the array, or the error that ended the reading
}

func newArrayReader(in io.Reader) *arrayReader { return &arrayReader{in: skipBOM(in)} }

// more reports whether another element may follow. The first call reads the start of the array.
func (r *arrayReader) more() bool {
	if !r.started {
		r.started = true
		r.err = r.open()
	}
	return r.err == nil
}

// skip returns 0: an array has no blank elements.
func (r *arrayReader) skip() int64 { return 0 }

// failure returns the error that ended the reading early, or nil.
func (r *arrayReader) failure() error { return ignoreEOF(r.err) }

// open reads up to the first element. It returns io.EOF if the array is empty.
func (r *arrayReader) open() error {
	switch b, err := r.nextNonSpace(); {
	case errors.Is(err, io.EOF) || err == nil && b != '[':
		return errors.New("it is not a JSON array")
	case err != nil:
		return err
	}
	b, err := r.nextNonSpace()
	switch {
	case err != nil:
		return unexpectedEOF(err)
	case b == ']':
		return r.close()
	}
	return r.in.UnreadByte()
}

// close returns io.EOF if only white space follows the array, and another error if not.
func (r *arrayReader) close() error {
	b, err := r.nextNonSpace()
	if err == nil {
		return fmt.Errorf("%q follows the JSON array", b)
	}
	return err
}

// nextNonSpace returns the next byte that is not JSON white space.
func (r *arrayReader) nextNonSpace() (byte, error) {
	for {
		b, err := r.in.ReadByte()
		if err != nil || b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, err
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

// read returns the next element. An element longer than maxLine is cut off and has the defect lineTooLong.
func (r *arrayReader) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	r.text = r.text[:0]
	depth, quoted, escaped := 0, false, false
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			r.err = unexpectedEOF(err)
			return nil, "", false
		}
		switch {
		case escaped:
			escaped = false
		case quoted:
			quoted, escaped = b != '"', b == '\\'
		case b == '"':
			quoted = true
		case b == '{' || b == '[':
			depth++
		case depth > 0 && (b == '}' || b == ']'):
			depth--
		case depth == 0 && (b == ',' || b == ']' || b == '}'):
			return r.end(b, defect)
		}
		if len(r.text) == maxLine {
			defect = lineTooLong
		} else {
			r.text = append(r.text, b)
		}
	}
}

// end finishes an element at the delimiter b. It returns the element as a row, or sets r.err if b is not valid there.
func (r *arrayReader) end(b byte, defect string) ([]byte, string, bool) {
	if len(trimLine(r.text)) == 0 || b == '}' {
		r.err = fmt.Errorf("unexpected %q in the JSON array", b)
		return nil, "", false
	}
	if b == ']' {
		r.err = r.close()
	}
	return r.text, defect, true
}
