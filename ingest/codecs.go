package ingest

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A codec is a compression of a whole input. Each reader reads all streams that follow one another: gzip members,
// zstd frames and skippable frames, bzip2 streams. It returns an error if other bytes follow them.
type codec struct {
	name  string
	magic func(head []byte) bool
	open  func(in io.Reader, bounded bool) (io.ReadCloser, error)
}

// codecs lists the compressions that are read. Their first bytes select them, not the name of the file.
var codecs = []codec{
	{"gzip", prefix("\x1f\x8b"), func(in io.Reader, _ bool) (io.ReadCloser, error) { return gzip.NewReader(in) }},
	{"zstd", isZstd, openZstd},
	{"bzip2", isBzip2, func(in io.Reader, _ bool) (io.ReadCloser, error) {
		return io.NopCloser(bzip2.NewReader(in)), nil
	}},
}

// maxMagic is the number of bytes that decide the compression and the format of an input, except for white space.
const maxMagic = 264

// codecOf returns the codec that the first bytes of an input show, or nil.
func codecOf(head []byte) *codec {
	for i := range codecs {
		if codecs[i].magic(head) {
			return &codecs[i]
		}
	}
	return nil
}

// prefix returns a function that reports whether its argument begins with text.
func prefix(text string) func([]byte) bool {
	return func(head []byte) bool { return bytes.HasPrefix(head, []byte(text)) }
}

// isZstd reports whether head begins a zstd frame or a skippable frame, as in the output of pzstd.
func isZstd(head []byte) bool {
	skippable := len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18"
	return skippable || bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd"))
}

// isBzip2 reports whether head begins a bzip2 stream, with a block or empty.
func isBzip2(head []byte) bool {
	if len(head) < 10 || string(head[:3]) != "BZh" || head[3] < '1' || head[3] > '9' {
		return false
	}
	mark := string(head[4:10])
	return mark == "\x31\x41\x59\x26\x53\x59" || mark == "\x17\x72\x45\x38\x50\x90"
}

// Maximum window sizes of zstd in bytes. A frame of a few bytes can make the decoder allocate a whole window.
// maxWindow is the default limit of the zstd command; maxBoundedWindow is the window of its level 20 and applies to
// bounded inputs.
const (
	maxWindow        = 128 << 20
	maxBoundedWindow = 32 << 20
)

// openZstd returns a reader of zstd frames.
func openZstd(in io.Reader, bounded bool) (io.ReadCloser, error) {
	window := uint64(maxWindow)
	if bounded {
		window = maxBoundedWindow
	}
	unpacked, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	return unpacked.IOReadCloser(), nil
}

// unpack returns a reader of the uncompressed input and reports whether the input is compressed. An input that is
// compressed twice is refused: its expansion could not be bounded.
func (in Input) unpack(source io.Reader) (_ *bufio.Reader, closer io.Closer, packed bool, err error) {
	buffered := bufio.NewReaderSize(source, 1<<20)
	head, err := peek(buffered, maxMagic)
	if err != nil {
		return nil, nil, false, fmt.Errorf("cannot be read: %w", err)
	}
	outer := codecOf(head)
	if outer == nil {
		return buffered, io.NopCloser(nil), false, nil
	}
	opened, err := outer.open(buffered, in.Bounds.Bytes > 0)
	if err != nil {
		return nil, nil, false, fmt.Errorf("cannot be read as %s: %w", outer.name, err)
	}
	return bufio.NewReaderSize(&codecReader{in: opened, name: outer.name}, 256<<10), opened, true, nil
}

// peek returns the next n bytes of in, or fewer if in ends or fails earlier. It returns an error only if in fails
// before its first byte. A later error is returned to the reader of the rows.
func peek(in *bufio.Reader, n int) ([]byte, error) {
	head, err := in.Peek(n)
	if len(head) > 0 {
		return head, nil
	}
	return head, ignoreEOF(err)
}

// A codecReader names the codec in the errors of a decompressor. Its first error ends the reading: bzip2 would go on
// after one.
type codecReader struct {
	in   io.Reader
	name string
	err  error
}

// Read reads from the decompressor. It explains the error that the decompressor returns if other bytes follow the
// compressed data.
func (r *codecReader) Read(p []byte) (n int, err error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err = r.in.Read(p)
	var bad bzip2.StructuralError
	if errors.Is(err, gzip.ErrHeader) || errors.Is(err, zstd.ErrMagicMismatch) ||
		errors.As(err, &bad) && bad == "bad magic value in continuation file" {
		err = fmt.Errorf("bytes that are not %s follow the compressed data", r.name)
	} else if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the %s data is cut off, or other bytes follow it: %w", r.name, err)
	}
	r.err = err
	return n, err
}
