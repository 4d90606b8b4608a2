package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/voicory/warehouse/warehouse"
)

// maxRecord bounds the memory of one record batch of a stream, whatever it says of itself.
const maxRecord = 256 << 20

// arrowReader reads the rows of an Arrow IPC stream, or of a file, which holds one. Each becomes a JSON object. The columns
// could be handed to DuckDB as they are, but it trusts what they say of themselves: an offset that is wrong, of whoever
// pushes, would have it read the memory of others. Go looks at every bound.
type arrowReader struct {
	dataset warehouse.Dataset
	in      *bufio.Reader
	most    int64 // bytes of rows that are taken; 0: any number
	given   int64
	stream  *ipc.Reader // nil: not begun
	columns []arrowColumn
	record  arrow.RecordBatch
	row     int // of record, the next to be read
	text    bytes.Buffer
	values  *json.Encoder // writes to text
	err     error         // io.EOF at the end, else why reading ended early
}

// arrowColumn is a column of the stream: its name as JSON, and whether its texts are JSON.
type arrowColumn struct {
	name string
	json bool
}

func newArrowReader(in io.Reader, dataset warehouse.Dataset, most int64) *arrowReader {
	r := &arrowReader{dataset: dataset, in: bufio.NewReaderSize(in, 256<<10), most: most}
	r.values = json.NewEncoder(&r.text)
	r.values.SetEscapeHTML(false)
	return r
}

// close lets the memory of the stream go.
func (r *arrowReader) close() {
	if r.stream != nil {
		r.stream.Release()
		r.stream = nil
	}
}

func (r *arrowReader) failure() error { return untilEnd(r.err) }

func (r *arrowReader) more() bool {
	if r.stream == nil && r.err == nil {
		r.err = r.open()
	}
	for r.err == nil && (r.record == nil || r.row >= int(r.record.NumRows())) {
		if r.record, r.row = nil, 0; r.stream.Next() {
			r.record = r.stream.RecordBatch()
		} else if r.err = r.stream.Err(); r.err == nil {
			r.err = io.EOF
		}
	}
	return r.err == nil
}

// open reads the schema. A file is a stream with a mark of eight bytes before it, and an index behind it.
func (r *arrowReader) open() error {
	if mark, _ := r.in.Peek(6); string(mark) == "ARROW1" {
		_, _ = r.in.Discard(8) // where it is shorter, there is no schema
	}
	stream, err := ipc.NewReader(boundedReader{r.in}, ipc.WithAllocator(&boundedAllocator{Allocator: memory.NewGoAllocator()}))
	if err != nil {
		return fmt.Errorf("it is no Arrow IPC stream: %w", brokenOff(err))
	}
	r.stream = stream
	seen := map[string]bool{}
	for _, field := range stream.Schema().Fields() {
		lower := strings.ToLower(field.Name) // as DuckDB compares names
		if seen[lower] {
			return fmt.Errorf("there are two columns %q", lower)
		}
		seen[lower] = true
		name, err := json.Marshal(lower)
		if err != nil {
			return err
		}
		r.columns = append(r.columns, arrowColumn{string(name), r.dataset.HoldsJSON(lower)})
	}
	return nil
}

func (r *arrowReader) read() (text []byte, tooLong, ok bool) {
	if !r.more() {
		return nil, false, false
	}
	defer func() { // an array that does not hold what it says it does
		if cause := recover(); cause != nil {
			r.err = fmt.Errorf("a record batch contradicts itself: %v", cause)
			text, tooLong, ok = nil, false, false
		}
	}()
	r.text.Reset()
	r.text.WriteByte('{')
	for i, column := range r.columns {
		value := r.record.Column(i).GetOneForMarshal(r.row)
		if value == nil {
			continue // an absent field is a null one
		}
		if r.text.Len() > 1 {
			r.text.WriteByte(',')
		}
		r.text.WriteString(column.name + ":")
		if err := r.write(value, column.json); err != nil {
			r.err = err
			return nil, false, false
		}
	}
	r.text.WriteByte('}')
	r.row++
	if r.given += int64(r.text.Len()); r.most > 0 && r.given > r.most {
		r.err = errUnpacked
		return nil, false, false
	}
	return r.text.Bytes(), r.text.Len() > maxLine, true
}

func (r *arrowReader) write(value any, isJSON bool) error {
	if text, ok := value.(string); ok {
		switch {
		case !utf8.ValidString(text):
			r.text.WriteString(text) // as it is: the row is refused for it
			return nil
		case isJSON && strings.TrimSpace(text) == "":
			value = nil
		case isJSON && json.Valid([]byte(text)):
			value = json.RawMessage(text)
		}
	}
	return r.values.Encode(value)
}

// boundedReader refuses to read at once what would need more memory than a record batch may have.
type boundedReader struct{ io.Reader }

var errRecord = errors.New("a record batch takes more than 256 MiB; write smaller ones")

func (r boundedReader) Read(p []byte) (int, error) {
	if len(p) > maxRecord {
		return 0, errRecord
	}
	return r.Reader.Read(p)
}

// boundedAllocator gives no more than maxRecord at a time. Its panic is turned into an error by who reads the stream.
type boundedAllocator struct {
	memory.Allocator
	given int
}

func (a *boundedAllocator) count(more int) {
	if a.given+more > maxRecord {
		panic(errRecord)
	}
	a.given += more
}

func (a *boundedAllocator) Allocate(size int) []byte {
	a.count(size)
	return a.Allocator.Allocate(size)
}

func (a *boundedAllocator) Reallocate(size int, b []byte) []byte {
	a.count(size - len(b))
	return a.Allocator.Reallocate(size, b)
}

func (a *boundedAllocator) Free(b []byte) {
	a.count(-len(b))
	a.Allocator.Free(b)
}
