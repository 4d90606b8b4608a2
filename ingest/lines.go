package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/voicory/warehouse/warehouse"
)

const (
	// maxLine is the longest line taken: a call of hours stays far below it.
	maxLine = 16 << 20
	// A batch is what one transaction merges: whole row groups in a bulk load, and bounded in memory.
	maxBatchRows  = warehouse.RowGroup
	maxBatchBytes = 128 << 20
	// maxReadyBytes bounds a batch that is read before its turn comes: several wait at a time.
	maxReadyBytes = 64 << 20
	// DuckDB works on 2,048 rows at a time, in several copies: of wide rows a batch takes fewer.
	wideRow      = 8 << 10
	maxWideBytes = 24 << 20
	// A record is what DuckDB's threads take in turns.
	recordBytes = 1 << 20
)

// rowReader parts a stream into rows: JSON values, or what should be some.
type rowReader interface {
	// more says whether there may be a row left; before the end it may wait for the stream.
	more() bool
	// skip passes over blank rows and returns how many there were.
	skip() int64
	// read reads a row, valid until the next call, and why it cannot be a row, if that is known; of such a row at least the first KB.
	// A row that breaks off where the stream breaks is none.
	read() (text []byte, defect string, ok bool)
	// failure is why reading ended before the end of the stream; nil when it did not.
	failure() error
}

// cutter cuts a stream of rows into batches.
type cutter struct {
	rowReader
	mem   memory.Allocator
	line  int64 // rows seen, blank lines too
	whole bool  // each batch is read before it is handed out
}

func newCutter(rows rowReader, mem memory.Allocator) *cutter {
	return &cutter{rowReader: rows, mem: mem}
}

// batch returns a reader of the next batch's rows. When the stream breaks, the reader ends after the last whole row
// and failure says why.
func (c *cutter) batch() *lineBatch {
	b := &lineBatch{cutter: c}
	b.Retain()
	return b
}

func (c *cutter) rows() (_ warehouse.Rows, release func()) {
	b := c.batch()
	if c.whole {
		b.fill()
	}
	return warehouse.Lines{Reader: b}, b.Release
}

// next appends the next row that is not blank to the builder and returns its length; false at the end.
func (c *cutter) next(lines *array.Int64Builder, texts, defects *array.StringBuilder) (int, bool) {
	for {
		c.line += c.skip()
		text, defect, ok := c.read()
		if !ok {
			return 0, false
		}
		c.line++
		if text = trimLine(text); len(text) == 0 {
			continue
		}
		lines.Append(c.line)
		switch {
		case defect != "":
			shown := strings.ToValidUTF8(string(text[:min(len(text), 1024)]), "\uFFFD")
			if len(text) > 1024 {
				shown += "…"
			}
			texts.Append(shown)
			defects.Append(defect)
		case !utf8.Valid(text):
			texts.Append(strings.ToValidUTF8(string(text), "\uFFFD"))
			defects.Append("line is no UTF-8")
		default:
			texts.BinaryBuilder.Append(text)
			defects.AppendNull()
		}
		return len(text), true
	}
}

// lineReader reads rows that are lines.
type lineReader struct {
	in   *bufio.Reader
	long []byte // a line that is longer than in's buffer
	err  error  // io.EOF at the end, else why reading ended early
}

func newLineReader(in io.Reader) *lineReader { return &lineReader{in: withoutMark(in)} }

// withoutMark buffers a text without its byte order mark.
func withoutMark(in io.Reader) *bufio.Reader {
	buffered := bufio.NewReaderSize(in, 256<<10)
	if mark, _ := buffered.Peek(3); string(mark) == "\ufeff" {
		_, _ = buffered.Discard(3) // what was peeked at can be discarded
	}
	return buffered
}

func (r *lineReader) more() bool {
	if r.err == nil {
		if _, err := r.in.Peek(1); err != nil {
			r.err = err
		}
	}
	return r.err == nil
}

// skip also passes over the white space that begins the next line. It is fast, because a small input can unpack to gigabytes of blank lines.
func (r *lineReader) skip() (lines int64) {
	for r.more() {
		buffered, _ := r.in.Peek(r.in.Buffered()) // what is buffered can be peeked at
		blank := len(buffered) - len(bytes.TrimLeft(buffered, whiteSpace))
		lines += int64(bytes.Count(buffered[:blank], []byte{'\n'}))
		_, _ = r.in.Discard(blank)
		if blank < len(buffered) {
			break
		}
	}
	return lines
}

func (r *lineReader) failure() error { return untilEnd(r.err) }

// untilEnd is the error with which reading ended, unless that was the end of the stream.
func untilEnd(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// lineTooLong is the defect of a row longer than maxLine.
const lineTooLong = "line is longer than 16 MiB"

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

// whiteSpace is the white space of JSON.
const whiteSpace = " \t\r\n"

// trimLine removes white space from both ends.
func trimLine(text []byte) []byte { return bytes.Trim(text, whiteSpace) }

// lineBatch reads one batch as Arrow records of warehouse.LinesSchema.
type lineBatch struct {
	cutter      *cutter
	rows, bytes int
	record      arrow.RecordBatch
	ready       []arrow.RecordBatch // read already, in their order
	waits       bool                // it is read before its turn
	filled      bool                // and all of it was
	refs        atomic.Int64
}

func (b *lineBatch) Schema() *arrow.Schema { return warehouse.LinesSchema }
func (b *lineBatch) Err() error            { return nil }

// fill reads the whole batch, so that who reads it then never waits for the stream.
func (b *lineBatch) fill() {
	b.waits = true
	for record := b.read(); record != nil; record = b.read() {
		b.ready = append(b.ready, record)
	}
	b.filled = true
}

func (b *lineBatch) Next() bool {
	b.drop()
	if b.filled {
		if len(b.ready) > 0 {
			b.record, b.ready = b.ready[0], b.ready[1:]
		}
	} else {
		b.record = b.read()
	}
	return b.record != nil
}

// read reads the next record; nil at the end of the batch.
func (b *lineBatch) read() arrow.RecordBatch {
	builder := array.NewRecordBuilder(b.cutter.mem, warehouse.LinesSchema)
	defer builder.Release()
	lines, texts, defects := builder.Field(0).(*array.Int64Builder), builder.Field(1).(*array.StringBuilder), builder.Field(2).(*array.StringBuilder)
	texts.ReserveData(recordBytes + recordBytes/4)
	rows := 0
	for size := 0; size < recordBytes && !b.full(); {
		n, ok := b.cutter.next(lines, texts, defects)
		if !ok {
			break
		}
		size += n
		b.bytes += n
		b.rows++
		rows++
	}
	if rows == 0 {
		return nil
	}
	return builder.NewRecordBatch()
}

func (b *lineBatch) full() bool {
	return b.rows >= maxBatchRows || b.bytes >= maxBatchBytes || b.waits && b.bytes >= maxReadyBytes || b.bytes >= maxWideBytes && b.bytes/b.rows >= wideRow
}

func (b *lineBatch) RecordBatch() arrow.RecordBatch { return b.record }
func (b *lineBatch) Record() arrow.RecordBatch      { return b.record }
func (b *lineBatch) Retain()                        { b.refs.Add(1) }
func (b *lineBatch) Release() {
	if b.refs.Add(-1) == 0 {
		b.drop()
		for _, record := range b.ready {
			record.Release()
		}
		b.ready = nil
	}
}

func (b *lineBatch) drop() {
	if b.record != nil {
		b.record.Release()
		b.record = nil
	}
}
