package filereader

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	flatbuffers "github.com/google/flatbuffers/go"
)

// arrowMark begins and ends an Arrow IPC file.
const arrowMark = "ARROW1"

// arrowBatches calls start with each schema of an Arrow IPC file or of the streams in file, and batch with each of the
// batches that follow it. A file is read by its footer, because writers may leave out the stream inside it. Streams may
// follow one another. Any other byte after the end of a stream or file is an error.
func arrowBatches(file *os.File, start func(*arrow.Schema) error, batch func(arrow.RecordBatch) error) error {
	mark := make([]byte, len(arrowMark))
	if _, err := file.ReadAt(mark, 0); err == nil && string(mark) == arrowMark {
		return arrowFile(file, start, batch)
	}
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read the file's size: %w", err)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(file, 0, info.Size()), 256<<10)
	for streams := 0; ; streams++ {
		if _, err := in.Peek(1); streams > 0 && errors.Is(err, io.EOF) {
			return nil
		}
		if err := arrowStream(in, start, batch); err != nil {
			if streams > 0 {
				err = fmt.Errorf("after the end of stream %d: %w", streams, err)
			}
			return err
		}
	}
}

// arrowFile reads an Arrow IPC file.
func arrowFile(file *os.File, start func(*arrow.Schema) error, batch func(arrow.RecordBatch) error) error {
	if err := checkArrowFooter(file); err != nil {
		return err
	}
	reader, err := ipc.NewFileReader(file)
	if err != nil {
		return fmt.Errorf("its footer cannot be read: %w", err)
	}
	defer func() { _ = reader.Close() }() // releases memory; does not fail
	if err := start(reader.Schema()); err != nil {
		return err
	}
	for i := range reader.NumRecords() {
		record, err := reader.RecordBatch(i)
		if err != nil {
			return err
		}
		if err := batch(record); err != nil {
			return err
		}
	}
	return nil
}

const (
	arrowTail = 4 + len(arrowMark) // bytes: length of the footer, and arrowMark
	// maxArrowGap is the maximum distance in bytes between the last block of a file and its footer: the end of the
	// stream, and padding.
	maxArrowGap = 8 + 64
	// maxArrowSchemaGap is the maximum number of bytes by which the schema message of a file without blocks is longer
	// than its footer, which repeats the schema.
	maxArrowSchemaGap = 256
)

// checkArrowFooter checks that a file ends with a footer that describes all of it. The footer of two files one after
// another describes the second, by offsets that lie in the first.
func checkArrowFooter(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read the file's size: %w", err)
	}
	end := info.Size() - int64(arrowTail)
	tail := make([]byte, arrowTail)
	if _, err := file.ReadAt(tail, max(0, end)); err != nil || string(tail[4:]) != arrowMark {
		return errors.New("it is not an Arrow IPC file: it does not end with ARROW1, because it is cut off, or other bytes " +
			"follow its end")
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	if length < flatbuffers.SizeUOffsetT || length > end {
		return errors.New("it is not an Arrow IPC file: its footer is longer than the file")
	}
	content := make([]byte, length)
	if _, err := file.ReadAt(content, end-length); err != nil {
		return fmt.Errorf("read the footer: %w", err)
	}
	last, blocks := arrowBlocks(content)
	most := int64(maxArrowGap)
	if blocks == 0 {
		last, most = 0, length+maxArrowSchemaGap
	}
	if gap := end - length - last; gap < 0 || gap > most {
		return fmt.Errorf("its footer does not describe %d bytes before it, as if several files follow one another", gap)
	}
	return nil
}

// arrowBlocks returns the end of the last block that a footer lists, and the number of its blocks. It panics if the
// footer is not valid, like the Arrow library.
func arrowBlocks(footer []byte) (end int64, blocks int) {
	const (
		dictionaries, recordBatches = 8, 10 // places of the fields in the table
		blockSize                   = 24    // bytes: offset, length of the metadata, length of the body
	)
	table := flatbuffers.Table{Bytes: footer, Pos: flatbuffers.GetUOffsetT(footer)}
	for _, field := range []flatbuffers.VOffsetT{dictionaries, recordBatches} {
		at := flatbuffers.UOffsetT(table.Offset(field))
		if at == 0 {
			continue
		}
		n := table.VectorLen(at)
		for i := range n {
			block := table.Vector(at) + flatbuffers.UOffsetT(i*blockSize)
			end = max(end, table.GetInt64(block)+int64(table.GetInt32(block+8))+table.GetInt64(block+16))
		}
		blocks += n
	}
	return end, blocks
}

// arrowStream reads one Arrow IPC stream, up to its end mark or the end of in.
func arrowStream(in *bufio.Reader, start func(*arrow.Schema) error, batch func(arrow.RecordBatch) error) error {
	whole := &messageInput{in: in}
	stream, err := ipc.NewReaderFromMessageReader(&messageReader{ipc.NewMessageReader(whole), whole})
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("it is not an Arrow IPC stream: %w", err)
	}
	defer stream.Release()
	if err := start(stream.Schema()); err != nil {
		return err
	}
	for stream.Next() {
		if err := batch(stream.RecordBatch()); err != nil {
			return err
		}
	}
	return stream.Err()
}

// A messageReader reads the messages of a stream. It returns io.EOF only at the end of a message: the Arrow library
// accepts a stream that is cut off within one.
type messageReader struct {
	ipc.MessageReader
	in *messageInput
}

// Message returns the next message.
func (r *messageReader) Message() (*ipc.Message, error) {
	if _, err := r.in.in.Peek(1); err != nil {
		return nil, err
	}
	return r.MessageReader.Message()
}

// A messageInput is a reader that must not end.
type messageInput struct{ in *bufio.Reader }

// Read reads from in. It returns io.ErrUnexpectedEOF at its end.
func (r *messageInput) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
