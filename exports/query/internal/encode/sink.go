package encode

import (
	"bufio"
	"fmt"
	"io"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// A Sink buffers a result, counts its bytes and enforces its limit. Encoders check remaining before they write, and
// reserve bytes for the end of their format. A write beyond the limit is a bug of the encoder, and returns an error.
type Sink struct {
	*bufio.Writer
	limit   int64 // bytes
	written int64 // bytes
}

// NewSink returns a sink that accepts at most limit bytes.
func NewSink(out io.Writer, limit int64) *Sink {
	return &Sink{Writer: bufio.NewWriterSize(out, protocol.HeadBytes), limit: limit}
}

// remaining returns how many more bytes the result may have.
func (s *Sink) remaining() int64 { return s.limit - s.written }

// begin writes the head of a result. It returns a Failure if the head and the reserved bytes exceed the limit.
func (s *Sink) begin(head []byte, reserve int64) error {
	if need := int64(len(head)) + reserve; need > s.remaining() {
		return limitTooSmall(need, s.remaining())
	}
	_, err := s.Write(head)
	return err
}

// limitTooSmall returns the failure of a result whose limit is too small for an empty result of its format.
func limitTooSmall(need, limit int64) error {
	return &protocol.Failure{Kind: protocol.ErrLimitTooSmall, Message: fmt.Sprintf(
		"The result takes at least %d bytes in this format without any row, and may have %d", need, limit)}
}

func (s *Sink) Write(p []byte) (int, error) {
	if int64(len(p)) > s.remaining() {
		return 0, fmt.Errorf("write %d bytes of a result: only %d bytes remain", len(p), s.remaining())
	}
	n, err := s.Writer.Write(p)
	s.written += int64(n)
	return n, err
}
