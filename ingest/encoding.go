package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// decodeText returns a reader of the text of in as UTF-8. It detects UTF-16 by its byte order mark. It returns an error
// if the first bytes are those of another encoding, and leaves later bytes that are not UTF-8 to the reader of the
// rows.
func decodeText(in io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(in, 256<<10)
	head, _ := buffered.Peek(4) // the reader of the rows gets the error
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe, 0, 0}), bytes.HasPrefix(head, []byte{0, 0, 0xfe, 0xff}):
		return nil, errors.New("its encoding is UTF-32; convert it to UTF-8")
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}), bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return transform.NewReader(buffered, unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder()), nil
	case bytes.IndexByte(head, 0) >= 0:
		return nil, errors.New("it begins with NUL bytes, as UTF-16 without a byte order mark does; convert it to UTF-8")
	}
	return buffered, nil
}
