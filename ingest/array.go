package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// arrayReader reads rows that are the elements of one JSON array. It looks no further into them than to see where each ends:
// what is within an element is the warehouse's to judge, and refuses that row; what is wrong between elements ends the reading.
type arrayReader struct {
	in    *bufio.Reader
	text  []byte
	begun bool
	err   error // io.EOF at the end, else why reading ended early
}

func newArrayReader(in io.Reader) *arrayReader { return &arrayReader{in: withoutMark(in)} }

func (r *arrayReader) more() bool {
	if !r.begun {
		r.begun = true
		r.err = r.open()
	}
	return r.err == nil
}

// skip does nothing: an array has no blank elements.
func (r *arrayReader) skip() int64 { return 0 }

func (r *arrayReader) failure() error { return untilEnd(r.err) }

// open reads as far as the first element; io.EOF where the array has none.
func (r *arrayReader) open() error {
	switch b, err := r.visible(); {
	case errors.Is(err, io.EOF) || err == nil && b != '[':
		return errors.New("it is no JSON array")
	case err != nil:
		return err
	}
	b, err := r.visible()
	switch {
	case err != nil:
		return brokenOff(err)
	case b == ']':
		return r.close()
	}
	return r.in.UnreadByte()
}

// close looks whether the stream ends with the array; io.EOF where it does.
func (r *arrayReader) close() error {
	b, err := r.visible()
	if err == nil {
		return fmt.Errorf("%q follows the JSON array", b)
	}
	return err
}

// visible reads the next byte that is no white space.
func (r *arrayReader) visible() (byte, error) {
	for {
		b, err := r.in.ReadByte()
		if err != nil || b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, err
		}
	}
}

// brokenOff is the error where a stream must not end.
func brokenOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *arrayReader) read() (text []byte, defect string, ok bool) {
	if !r.more() {
		return nil, "", false
	}
	r.text = r.text[:0]
	depth, quoted, escaped := 0, false, false
	for {
		b, err := r.in.ReadByte()
		if err != nil {
			r.err = brokenOff(err)
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

// end ends an element at the byte that parts it from what follows.
func (r *arrayReader) end(b byte, defect string) ([]byte, string, bool) {
	if len(trimLine(r.text)) == 0 || b == '}' {
		r.err = fmt.Errorf("there is %q where a JSON array has none", b)
		return nil, "", false
	}
	if b == ']' {
		r.err = r.close()
	}
	return r.text, defect, true
}
