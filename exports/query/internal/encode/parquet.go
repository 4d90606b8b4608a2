package encode

import (
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// A parquetFile encodes a Parquet file, compressed with zstd. The footer's keys voicory.rows and voicory.truncated hold
// the [protocol.Outcome].
//
// The size of a Parquet file is known only when it is complete. So the encoder adds up the maximum size of all rows,
// uncompressed, and of the metadata of their column chunks. It writes no row with which the sum would exceed the limit.
type parquetFile struct {
	*parquet.Writer
	columns    []Column
	paths      [][]string    // of the Parquet columns
	maxBytes   int64         // limit of the file
	used       int64         // maximum size of the file with the rows so far, in bytes
	groupMeta  int64         // maximum size of the metadata and page headers of a row group, in bytes
	groupRows  int64         // rows of the current row group
	groupBytes int64         // maximum size of the current row group, in bytes
	rows       []parquet.Row // rows that are written together; they point into the current batch
	rowsBytes  int64         // maximum size of rows, in bytes
}

// Bounds of the memory of a file. A row group is held compressed until it is full, a page is held uncompressed.
const (
	parquetGroupRows  = 32_768
	parquetGroupBytes = 32 << 20
	parquetBlockRows  = 64
	parquetPageBytes  = 256 << 10
)

// Maximum sizes of the parts of a file other than the bytes of its values.
const (
	// A column chunk without the column's name. It has one page with its header and the frames of zstd and of the
	// levels. It has one entry in the column index and one in the offset index. Its metadata has two statistics of
	// maxStatistic bytes.
	parquetChunkBytes = 768
	parquetPathBytes  = 5  // the length of a part of a column's path, besides the part itself
	parquetGroupMeta  = 64 // the metadata of a row group
	parquetValueBytes = 2  // the definition level of a value outside lists, which in fact takes a quarter of a byte
	parquetLevelBytes = 4  // the levels of a value in a list
	parquetTextBytes  = 4  // the length of a byte array
	// The value bytes divided by parquetExpansion cover the bytes that zstd adds to incompressible input. They also cover
	// the headers and index entries of further pages, which have at least parquetPageBytes each.
	parquetExpansion = 64
	parquetCounters  = 32 // the growth of the numbers in the footer, compared with a file without rows
)

// newParquet returns an encoder for the rows. It returns a Failure if the limit is too small for a file without rows,
// or if a column is nested too deeply.
func newParquet(t *protocol.Task, out *Sink, schema *arrow.Schema, columns []Column) (*parquetFile, error) {
	if err := checkDepth(columns); err != nil {
		return nil, err
	}
	fields := orderedGroup{Group: parquet.Group{}}
	for i, field := range schema.Fields() {
		fields.add(field.Name, optionalNode(columns[i].Type, field.Type))
	}
	file := parquet.NewSchema("result", fields)
	p := &parquetFile{columns: columns, paths: file.Columns(), maxBytes: out.remaining(), groupMeta: parquetGroupMeta}
	for _, path := range p.paths {
		p.groupMeta += parquetChunkBytes
		for _, part := range path {
			p.groupMeta += parquetPathBytes + int64(len(part))
		}
	}
	writerTo := func(out io.Writer) *parquet.Writer { //nolint:staticcheck // its successor needs a Go type for the rows
		return parquet.NewWriter(out, file, parquet.DataPageStatistics(false), parquet.PageBufferSize(parquetPageBytes),
			parquet.ColumnIndexSizeLimit(func([]string) int { return maxStatistic }))
	}
	empty := &byteCounter{}
	p.Writer = writerTo(empty)
	if err := p.End(protocol.Outcome{Rows: t.Limit, Truncated: protocol.TruncatedBytes}); err != nil {
		return nil, err
	}
	if p.used = empty.bytes + parquetCounters; p.used > p.maxBytes {
		return nil, limitTooSmall(p.used, p.maxBytes)
	}
	p.Writer = writerTo(out)
	return p, nil
}

// checkDepth returns a Failure if a column is nested too deeply for the Parquet writer.
func checkDepth(columns []Column) error {
	for _, c := range columns {
		if c.Type.parquetDepth() > parquet.MaxColumnDepth {
			return &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
				"The column %q is nested too deeply for Parquet: choose another format", c.Name)}
		}
	}
	return nil
}

// parquetDepth returns the length of the longest path to a value in Parquet: a list or a map takes two steps. It is
// also the greatest number of definition levels.
func (t *Type) parquetDepth() int {
	steps := 2
	switch t.ID {
	case typeUnion: // a column with JSON
		return 1
	case typeStruct:
		steps = 1
	}
	deepest := 0
	for _, m := range t.Members {
		deepest = max(deepest, steps+m.Type.parquetDepth())
	}
	return max(deepest, 1)
}

func (p *parquetFile) Write(batch arrow.RecordBatch) (int64, error) {
	if err := checkDecimals(batch, p.columns); err != nil {
		return 0, err
	}
	row := &parquetRow{columns: make([][]parquet.Value, len(p.paths))}
	columns := make([]shredder, len(p.columns))
	for i, values := range batch.Columns() {
		columns[i] = row.optional(values, p.columns[i].Type, 0)
	}
	for i := range int(batch.NumRows()) {
		for c := range row.columns {
			row.columns[c] = row.columns[c][:0]
		}
		for _, column := range columns {
			column.value(i, 0, 0)
		}
		fits, err := p.add(row.columns)
		if err != nil {
			return int64(i), err
		}
		if !fits {
			return int64(i), p.writeRows()
		}
	}
	return batch.NumRows(), p.writeRows()
}

// add adds a row if it fits, and reports whether it does. It ends a row group that is full. It returns a Failure if a
// value has no short upper bound for the statistics.
func (p *parquetFile) add(columns [][]parquet.Value) (fits bool, err error) {
	size := int64(0)
	for c, values := range columns {
		levels := int64(parquetValueBytes)
		if len(p.paths[c]) > 1 {
			levels = parquetLevelBytes
		}
		for _, value := range values {
			if size += levels + maxValueSize(value); value.Kind() == parquet.ByteArray && !hasUpperBound(value.ByteArray()) {
				return false, &protocol.Failure{Kind: protocol.ErrSQL, Message: fmt.Sprintf(
					"A value of the column %q begins with %d of the highest bytes or characters, and so has no short upper bound "+
						"for the statistics of Parquet: cast it, or choose another format", p.paths[c][0], maxStatistic)}
			}
		}
	}
	size += size/parquetExpansion + 1
	need := size
	if p.groupRows == 0 {
		need += p.groupMeta
	}
	if need > p.maxBytes-p.used {
		return false, nil
	}
	p.used += need
	p.groupRows++
	p.groupBytes += size
	p.rowsBytes += size
	p.rows = slices.Grow(p.rows, 1)[:len(p.rows)+1] // the row has the memory of an earlier one
	row := &p.rows[len(p.rows)-1]
	*row = (*row)[:0]
	for _, values := range columns {
		*row = append(*row, values...)
	}
	full := p.groupRows >= parquetGroupRows || p.groupBytes >= parquetGroupBytes
	if full || p.rowsBytes >= parquetPageBytes || len(p.rows) == parquetBlockRows {
		err = p.writeRows()
	}
	if full && err == nil {
		err = p.Flush()
		p.groupRows, p.groupBytes = 0, 0
	}
	return true, err
}

// writeRows writes the rows that are held.
func (p *parquetFile) writeRows() error {
	_, err := p.WriteRows(p.rows)
	p.rows, p.rowsBytes = p.rows[:0], 0
	return err
}

// maxValueSize returns the maximum size of a value without its levels, uncompressed, in bytes.
func maxValueSize(v parquet.Value) int64 {
	switch v.Kind() {
	case parquet.Boolean:
		return 1
	case parquet.Int32, parquet.Float:
		return 4
	case parquet.ByteArray:
		return parquetTextBytes + int64(len(v.ByteArray()))
	case parquet.FixedLenByteArray:
		return int64(len(v.ByteArray()))
	}
	return 8
}

func (p *parquetFile) End(outcome protocol.Outcome) error {
	p.SetKeyValueMetadata("voicory.rows", strconv.FormatInt(outcome.Rows, 10))
	p.SetKeyValueMetadata("voicory.truncated", outcome.Truncated)
	return p.Close()
}
