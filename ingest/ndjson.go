package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// A lineReader reads lines as rows.
type lineReader struct {
	in   *bufio.Reader
	long []byte // buffer for a line longer than the buffer of in
	err  error  // io.EOF at the end of the stream, or the error that ended the reading
}

func newLineReader(in io.Reader) *lineReader { return &lineReader{in: skipBOM(in)} }

// skipBOM returns a buffered reader of in after its UTF-8 byte order mark, if it has one.
func skipBOM(in io.Reader) *bufio.Reader {
	buffered := bufio.NewReaderSize(in, 256<<10)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // cannot fail: Peek has buffered the bytes
	}
	return buffered
}

// more reports whether the stream has another byte. It blocks until the stream has data or ends.
func (r *lineReader) more() bool {
	if r.err == nil {
		if _, err := r.in.Peek(1); err != nil {
			r.err = err
		}
	}
	return r.err == nil
}

// skip discards blank lines and the white space at the start of the next line. It returns the number of lines. It
// works on whole buffers, because a small compressed input can expand to gigabytes of blank lines.
func (r *lineReader) skip() (lines int64) {
	for r.more() {
		buffered, _ := r.in.Peek(r.in.Buffered()) // cannot fail: the bytes are buffered
		blank := len(buffered) - len(bytes.TrimLeft(buffered, whiteSpace))
		lines += int64(bytes.Count(buffered[:blank], []byte{'\n'}))
		_, _ = r.in.Discard(blank)
		if blank < len(buffered) {
			break
		}
	}
	return lines
}

// failure returns the error that ended the reading early, or nil.
func (r *lineReader) failure() error { return ignoreEOF(r.err) }

// ignoreEOF returns nil if err is io.EOF, and err otherwise. An error that also wraps io.ErrUnexpectedEOF is
// returned.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// lineTooLong is the defect of a row longer than maxLine.
const lineTooLong = "line is longer than 16 MiB"

// read returns the next line. The rest of a line longer than maxLine is discarded, and its defect is lineTooLong.
func (r *lineReader) read() (text []byte, defect string, ok bool) {
	if r.err != nil {
		return nil, "", false
	}
	text, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = append(r.long[:0], text...)
		for errors.Is(err, bufio.ErrBufferFull) {
			text, err = r.in.ReadSlice('\n')
			if len(r.long)+len(text) > maxLine {
				defect = lineTooLong
			}
			if defect == "" {
				r.long = append(r.long, text...)
			}
		}
		text = r.long
	}
	if err != nil {
		r.err = err
		return text, defect, errors.Is(err, io.EOF) && len(text) > 0
	}
	return text, defect, true
}

// whiteSpace holds the white space characters of JSON.
const whiteSpace = " \t\r\n"

// trimLine returns text without white space at both ends.
func trimLine(text []byte) []byte { return bytes.Trim(text, whiteSpace) }
