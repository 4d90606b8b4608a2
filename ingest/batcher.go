package ingest

import (
	"fmt"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/values"
)

const (
	// maxLine is the maximum length in bytes of a row that is held in memory. The memory limit of DuckDB can lower it.
	maxLine = 16 << 20
	// A batch is merged in one transaction. Its maximum is one row group, so that a bulk load writes whole row
	// groups, and a number of bytes that bounds memory.
	maxBatchRows  = warehouse.RowGroup
	maxBatchBytes = 128 << 20
	// maxReadyBytes is the maximum size of a buffered batch. Several of these can wait for a staging slot at a time.
	maxReadyBytes = 64 << 20
	// DuckDB processes vectors of 2,048 rows and holds several copies of each. A batch whose rows are on average at
	// least wideRow bytes is therefore limited to maxWideBytes.
	wideRow      = 8 << 10
	maxWideBytes = 24 << 20
	// recordBytes is the target size of an Arrow record, the unit that a thread of DuckDB takes.
	recordBytes = 1 << 20
)

// A rowReader splits a stream into rows. A row should be a JSON value, but may be invalid.
type rowReader interface {
	// more reports whether another row may follow. It may block until the stream has data.
	more() bool
	// skip discards blank rows and returns their number.
	skip() int64
	// read returns the next row, which is valid until the next call. If the row is known to be invalid, defect is the
	// reason, and text holds at least its first KB. ok is false at the end, and for a row that is cut off by an error
	// of the stream.
	read() (text []byte, defect string, ok bool)
	// failure returns the error that ended the reading before the end of the stream, or nil.
	failure() error
}

// A batcher cuts the rows of a stream into batches.
type batcher struct {
	rowReader
	mem      memory.Allocator
	line     int64 // number of the last row read, counting blank lines
	maxRow   int   // bytes of a row; see warehouse.MaxRow
	buffered bool  // read each batch into memory before it is staged
}

func newBatcher(rows rowReader, maxRow int) *batcher {
	return &batcher{rowReader: rows, mem: mallocator.NewMallocator(), maxRow: maxRow}
}

// nextBatch returns a reader of the next batch. If the stream fails, the reader ends after the last complete row and
// failure returns the error.
func (c *batcher) nextBatch() *rowBatch {
	b := &rowBatch{batcher: c}
	b.Retain()
	return b
}

// rows returns the next batch for staging. The caller must call release after use.
func (c *batcher) rows() (_ warehouse.Rows, release func()) {
	b := c.nextBatch()
	if c.buffered {
		b.fill()
	}
	return warehouse.Lines{Reader: b}, b.Release
}

// next appends the next row that is not blank to the builders and returns its length in bytes. It returns false at
// the end.
func (c *batcher) next(lines *array.Int64Builder, texts, defects *array.StringBuilder) (int, bool) {
	for {
		c.line += c.skip()
		text, defect, ok := c.read()
		if !ok {
			if c.more() { // the next file
				continue
			}
			return 0, false
		}
		c.line++
		if text = trimLine(text); len(text) == 0 {
			continue
		}
		lines.Append(c.line)
		if defect == "" && len(text) > c.maxRow {
			defect = c.rowTooLong(len(text))
		}
		if defect == lineTooLong || len(text) > c.maxRow {
			text = append(text[:min(len(text), 1024):min(len(text), 1024)], "…"...)
		}
		valid := utf8.Valid(text)
		if !valid {
			var joined string
			joined, valid = values.Text(text)
			text = []byte(joined)
		}
		if !valid && defect == "" {
			defect = "line is not UTF-8"
		}
		values.ReplaceSurrogates(text)
		texts.BinaryBuilder.Append(text)
		if defect != "" {
			defects.Append(defect)
		} else {
			defects.AppendNull()
		}
		return len(text), true
	}
}

// rowTooLong returns the defect of a row that is longer than maxRow.
func (c *batcher) rowTooLong(length int) string {
	const mib = 1 << 20
	return fmt.Sprintf("row has %.1f MiB; rows have at most %.1f MiB, because the memory limit is small (--memory-limit)",
		float64(length)/mib, float64(c.maxRow)/mib)
}

// A rowBatch reads one batch as Arrow records of warehouse.LinesSchema. It implements array.RecordReader.
type rowBatch struct {
	batcher     *batcher
	rows, bytes int // read so far
	record      arrow.RecordBatch
	ready       []arrow.RecordBatch // records in memory, in order, if the batch is buffered
	buffered    bool                // the batch is buffered, so maxReadyBytes applies
	filled      bool                // all records are in ready; Next does not read the stream
	refs        atomic.Int64
}

// Schema returns warehouse.LinesSchema.
func (b *rowBatch) Schema() *arrow.Schema { return warehouse.LinesSchema }

// Err returns nil. Errors of the stream are returned by the failure method of the batcher.
func (b *rowBatch) Err() error { return nil }

// fill reads the whole batch into memory, so that staging it never blocks on the stream.
func (b *rowBatch) fill() {
	b.buffered = true
	for record := b.read(); record != nil; record = b.read() {
		b.ready = append(b.ready, record)
	}
	b.filled = true
}

// Next reads the next record and reports whether there is one. It releases the previous record.
func (b *rowBatch) Next() bool {
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

// read returns the next record, or nil at the end of the batch.
func (b *rowBatch) read() arrow.RecordBatch {
	builder := array.NewRecordBuilder(b.batcher.mem, warehouse.LinesSchema)
	defer builder.Release()
	lines := builder.Field(0).(*array.Int64Builder)
	texts, defects := builder.Field(1).(*array.StringBuilder), builder.Field(2).(*array.StringBuilder)
	texts.ReserveData(recordBytes + recordBytes/4)
	rows := 0
	for size := 0; size < recordBytes && !b.full(); {
		n, ok := b.batcher.next(lines, texts, defects)
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

// full reports whether the batch has reached one of its limits.
func (b *rowBatch) full() bool {
	return b.rows >= maxBatchRows || b.bytes >= maxBatchBytes || b.buffered && b.bytes >= maxReadyBytes ||
		b.bytes >= maxWideBytes && b.bytes/b.rows >= wideRow
}

// RecordBatch returns the current record, which is valid until the next call of Next.
func (b *rowBatch) RecordBatch() arrow.RecordBatch { return b.record }

// Record returns the same as RecordBatch; the interface requires both.
func (b *rowBatch) Record() arrow.RecordBatch { return b.record }

// Retain adds a reference.
func (b *rowBatch) Retain() { b.refs.Add(1) }

// Release removes a reference. The last one releases all records of the batch.
func (b *rowBatch) Release() {
	if b.refs.Add(-1) == 0 {
		b.drop()
		for _, record := range b.ready {
			record.Release()
		}
		b.ready = nil
	}
}

// drop releases the current record.
func (b *rowBatch) drop() {
	if b.record != nil {
		b.record.Release()
		b.record = nil
	}
}
