package encode

import (
	"errors"
	"io"
	"sort"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// An arrowStream encodes an Arrow IPC stream.
type arrowStream struct {
	columns []Column
	writer  *ipc.Writer
	out     *payloadWriter
}

func newArrow(out *Sink, schema *arrow.Schema, columns []Column) *arrowStream {
	payloads := &payloadWriter{out: out}
	return &arrowStream{columns, ipc.NewWriterWithPayloadWriter(payloads, ipc.WithSchema(schema)), payloads}
}

func (a *arrowStream) Write(batch arrow.RecordBatch) (int64, error) {
	if err := checkDecimals(batch, a.columns); err != nil {
		return 0, err
	}
	err := a.writer.Write(batch)
	if !errors.Is(err, errNoRoom) {
		return batch.NumRows(), err
	}
	count, err := a.out.rowsWithin(batch)
	if err != nil || count == 0 {
		return 0, err
	}
	part, err := arrowbatch.Head(batch, count)
	if err != nil {
		return 0, err
	}
	defer part.Release()
	if err := a.writer.Write(part); !errors.Is(err, errNoRoom) {
		return count, err
	}
	return 0, nil // the dictionaries of the batch do not fit
}

func (a *arrowStream) End(protocol.Outcome) error { return a.writer.Close() }

// A payloadWriter writes the messages of an Arrow stream that fit. It returns errNoRoom for a message that does not.
type payloadWriter struct {
	out   *Sink
	begun bool // the first message, the schema, was written
}

// endOfStream is the end-of-stream marker of Arrow IPC: a message without metadata.
const endOfStream = "\xff\xff\xff\xff\x00\x00\x00\x00"

// errNoRoom reports that a message exceeds the limit of the result and was not written.
var errNoRoom = errors.New("the message exceeds the limit of the result")

func (m *payloadWriter) Start() error { return nil }

func (m *payloadWriter) WritePayload(message ipc.Payload) error {
	size, err := payloadSize(message)
	if err != nil {
		return err
	}
	if room := m.out.remaining() - int64(len(endOfStream)); size > room && m.begun {
		return errNoRoom
	} else if size > room {
		return limitTooSmall(size+int64(len(endOfStream)), m.out.remaining())
	}
	m.begun = true
	_, err = message.WritePayload(m.out)
	return err
}

func (m *payloadWriter) Close() error {
	_, err := io.WriteString(m.out, endOfStream)
	return err
}

// rowsWithin returns how many of the first rows of a batch fit, if its dictionaries have been written. The result may
// be a few rows too small, because a slice of a batch has up to 64 bytes of padding more per buffer than a head of it.
func (m *payloadWriter) rowsWithin(batch arrow.RecordBatch) (int64, error) {
	var failed error
	over := sort.Search(int(batch.NumRows()), func(before int) bool {
		part := batch.NewSlice(0, int64(before)+1)
		defer part.Release()
		message, err := ipc.GetRecordBatchPayload(part)
		if err != nil {
			failed = err
			return true
		}
		defer message.Release()
		size, err := payloadSize(message)
		failed = errors.Join(failed, err)
		return size > m.out.remaining()-int64(len(endOfStream))
	})
	return int64(over), failed
}

// payloadSize returns the size of a message in the stream, in bytes. It counts the bytes without copying them.
func payloadSize(message ipc.Payload) (int64, error) {
	size := &byteCounter{}
	_, err := message.WritePayload(size)
	return size.bytes, err
}

// A byteCounter counts the bytes that are written to it.
type byteCounter struct{ bytes int64 }

func (c *byteCounter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}
