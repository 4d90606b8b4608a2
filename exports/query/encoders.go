package query

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
)

// encoder writes a result in one of the formats.
type encoder interface {
	// write writes rows, and says how many of them there was room for.
	write(rows arrow.RecordBatch) (int64, error)
	// size is about how many bytes the rows written so far take.
	size() int64
	// end writes what comes after the last row.
	end(Outcome) error
}

func newEncoder(t *task, out *sink, r *rows) (encoder, error) {
	switch t.Format {
	case JSON:
		return newJSONRows(t, out, r)
	case JSONColumns:
		return newJSONColumns(t, out, r), nil
	case NDJSON:
		return newLines(t, out, r), nil
	case CSV:
		return newCSV(t, out, r)
	case Arrow:
		return newArrow(t, out, r), nil
	case Parquet:
		return newParquet(t, out, r)
	}
	return nil, fmt.Errorf("no format %q", t.Format)
}

// appenders are those of the columns of some rows.
func appenders(batch arrow.RecordBatch, columns []column) []appender {
	all := make([]appender, len(columns))
	for i, values := range batch.Columns() {
		all[i] = valuesOf(values, columns[i].Type == "JSON")
	}
	return all
}

// jsonHead is the beginning of a JSON result.
func jsonHead(columns []column) []byte {
	head, err := json.Marshal(columns)
	if err != nil {
		panic(err) // texts are always JSON
	}
	return append(append([]byte(`{"columns":`), head...), ',')
}

// jsonTail is its end.
func jsonTail(t *task, outcome Outcome) []byte {
	tail := struct {
		RowCount  int64      `json:"row_count"`
		Truncated *string    `json:"truncated"`
		AsOf      *time.Time `json:"as_of"`
		QueryID   string     `json:"query_id"`
		ElapsedMS float64    `json:"elapsed_ms"`
	}{RowCount: outcome.Rows, AsOf: t.AsOf, QueryID: t.ID, ElapsedMS: float64(time.Since(t.Started).Microseconds()) / 1000}
	if outcome.Truncated != "" {
		tail.Truncated = &outcome.Truncated
	}
	text, err := json.Marshal(tail)
	if err != nil {
		panic(err) // as above
	}
	return append([]byte(","), text[1:]...)
}

// byRow writes row by row: open, the cells with commas between them, shut; between stands before each row but the first.
type byRow struct {
	out                 *sink
	columns             []column
	most                int64
	between, open, shut string
	before              []string // each cell
	cell                func(appender, []byte, int) []byte
	row                 []byte
	begun               bool
}

func (b *byRow) write(batch arrow.RecordBatch) (int64, error) {
	cells := appenders(batch, b.columns)
	for i := range int(batch.NumRows()) {
		if b.out.written >= b.most {
			return int64(i), nil
		}
		b.row = b.row[:0]
		if b.begun {
			b.row = append(b.row, b.between...)
		}
		b.begun = true
		b.row = append(b.row, b.open...)
		for j, cell := range cells {
			b.row = b.cell(cell, append(b.row, b.before[j]...), i)
		}
		b.row = append(b.row, b.shut...)
		if _, err := b.out.Write(b.row); err != nil {
			return int64(i), err
		}
	}
	return batch.NumRows(), nil
}

func (b *byRow) size() int64 { return b.out.written }

func (b *byRow) end(Outcome) error { return nil }

func plainCell(value appender, dst []byte, i int) []byte { return value(dst, i) }

// commas stand before all cells but the first.
func commas(count int) []string {
	before := make([]string, count)
	for i := 1; i < count; i++ {
		before[i] = ","
	}
	return before
}

// jsonRows is {"columns":[{name,type}],"rows":[[…],…],…}.
type jsonRows struct {
	byRow
	task *task
}

func newJSONRows(t *task, out *sink, r *rows) (*jsonRows, error) {
	_, err := out.Write(append(jsonHead(r.columns), `"rows":[`...))
	return &jsonRows{byRow{out: out, columns: r.columns, most: t.MaxBytes, between: ",", open: "[", shut: "]", before: commas(len(r.columns)), cell: plainCell}, t}, err
}

func (j *jsonRows) end(outcome Outcome) error {
	_, err := j.out.Write(append([]byte("]"), jsonTail(j.task, outcome)...))
	return err
}

// newLines is an object per row and line.
func newLines(t *task, out *sink, r *rows) *byRow {
	before := make([]string, len(r.columns))
	for i, name := range uniqueNames(r.columns) {
		before[i] = string(append(appendText(nil, name), ':'))
		if i > 0 {
			before[i] = "," + before[i]
		}
	}
	return &byRow{out: out, columns: r.columns, most: t.MaxBytes, open: "{", shut: "}\n", before: before, cell: plainCell}
}

// uniqueNames are the names of columns; one that is there before gets a number.
func uniqueNames(columns []column) []string {
	names, taken := make([]string, len(columns)), map[string]bool{}
	for _, c := range columns {
		taken[c.Name] = false
	}
	for i, c := range columns {
		name := c.Name
		for n := 1; taken[name]; n++ {
			if candidate := c.Name + "_" + strconv.Itoa(n); !taken[candidate] {
				if _, elsewhere := taken[candidate]; !elsewhere {
					name = candidate
				}
			}
		}
		names[i], taken[name] = name, true
	}
	return names
}

// newCSV is text as RFC 4180 has it, but that lines end with a line feed alone. A NULL is nothing, an empty text is "".
func newCSV(t *task, out *sink, r *rows) (*byRow, error) {
	var head []byte
	for i, c := range r.columns {
		if i > 0 {
			head = append(head, ',')
		}
		head = appendField(head, c.Name)
	}
	if _, err := out.Write(append(head, '\n')); err != nil {
		return nil, err
	}
	var value []byte
	return &byRow{out: out, columns: r.columns, most: t.MaxBytes, shut: "\n", before: commas(len(r.columns)), cell: func(of appender, dst []byte, i int) []byte {
		value = of(value[:0], i)
		switch value[0] {
		case 'n': // null
			return dst
		case '"':
			var text string
			if json.Unmarshal(value, &text) == nil { // as it is a JSON string
				return appendField(dst, text)
			}
		case '[', '{':
			return appendField(dst, string(value))
		}
		return append(dst, value...)
	}}, nil
}

func appendField(dst []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\r\n") {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}

// jsonColumns is {"columns":[{name,type}],"values":[[…],…],…}, with a list for each column, which is held until its end.
type jsonColumns struct {
	task    *task
	out     *sink
	columns []column
	values  [][]byte
	held    int64
}

func newJSONColumns(t *task, out *sink, r *rows) *jsonColumns {
	return &jsonColumns{t, out, r.columns, make([][]byte, len(r.columns)), 0}
}

func (j *jsonColumns) write(batch arrow.RecordBatch) (int64, error) {
	cells := appenders(batch, j.columns)
	for i := range int(batch.NumRows()) {
		if j.held >= min(j.task.MaxBytes, maxHeldBytes) {
			return int64(i), nil
		}
		for c, cell := range cells {
			before := len(j.values[c])
			if before > 0 {
				j.values[c] = append(j.values[c], ',')
			}
			j.values[c] = cell(j.values[c], i)
			j.held += int64(len(j.values[c]) - before)
		}
	}
	return batch.NumRows(), nil
}

func (j *jsonColumns) size() int64 { return j.held }

func (j *jsonColumns) end(outcome Outcome) error {
	parts := [][]byte{jsonHead(j.columns), []byte(`"values":[`)}
	for i, values := range j.values {
		if i > 0 {
			parts = append(parts, []byte(","))
		}
		parts = append(parts, []byte("["), values, []byte("]"))
	}
	for _, part := range append(parts, []byte("]"), jsonTail(j.task, outcome)) {
		if _, err := j.out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// arrowStream is an Arrow IPC stream.
type arrowStream struct {
	*ipc.Writer
	out  *sink
	most int64
}

func newArrow(t *task, out *sink, r *rows) *arrowStream {
	return &arrowStream{ipc.NewWriter(out, ipc.WithSchema(r.schema)), out, t.MaxBytes}
}

func (a *arrowStream) write(batch arrow.RecordBatch) (int64, error) {
	count, held := batch.NumRows(), int64(0)
	for _, values := range batch.Columns() {
		held += bufferBytes(values.Data())
	}
	if left := a.most - a.out.written; held > left {
		var err error
		if count, err = rowsWithin(batch, left); err != nil {
			return 0, err
		}
	}
	part := batch.NewSlice(0, count)
	defer part.Release()
	return count, a.Write(part)
}

// bufferBytes is how long an array's buffers are; of a slice less may be written.
func bufferBytes(data arrow.ArrayData) (bytes int64) {
	for _, buffer := range data.Buffers() {
		if buffer != nil {
			bytes += int64(buffer.Len())
		}
	}
	for _, child := range data.Children() {
		bytes += bufferBytes(child)
	}
	return bytes
}

// rowsWithin is how many of the first rows of a batch fill so many bytes of a stream that has begun; all of them where they do not.
func rowsWithin(batch arrow.RecordBatch, bytes int64) (count int64, err error) {
	trial := &sink{Writer: bufio.NewWriter(io.Discard)}
	stream := ipc.NewWriter(trial, ipc.WithSchema(batch.Schema()))
	fills := func(rows int) bool {
		part := batch.NewSlice(0, int64(rows))
		defer part.Release()
		before := trial.written
		err = errors.Join(err, stream.Write(part))
		return trial.written-before >= bytes
	}
	fills(0) // what a stream begins with
	before := sort.Search(int(batch.NumRows())-1, func(before int) bool { return fills(before + 1) })
	return int64(before + 1), err
}

func (a *arrowStream) size() int64 { return a.out.written }

func (a *arrowStream) end(Outcome) error { return a.Close() }
