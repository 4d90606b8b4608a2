package query

import (
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

	"github.com/voicory/warehouse/warehouse/arrowbatch"
)

// An encoder writes a result in one format. All its output, including the end of the format, stays within the limit of
// its [sink]: it stops at the first row that does not fit.
type encoder interface {
	// write writes the rows that fit, and returns their number. It may change the batch.
	write(rows arrow.RecordBatch) (int64, error)
	// end writes the end of the format.
	end(Outcome) error
}

// newEncoder returns the encoder of the task's format. It returns a Failure if the limit is too small for a result
// without rows.
func newEncoder(t *task, out *sink, r *rows) (encoder, error) {
	switch t.Format {
	case JSON:
		return newJSONRows(t, out, r)
	case JSONColumns:
		return newJSONColumns(t, out, r)
	case NDJSON:
		return newNDJSON(out, r), nil
	case CSV:
		return newCSV(out, r)
	case Arrow:
		return newArrow(out, r), nil
	case Parquet:
		return newParquet(t, out, r)
	}
	return nil, fmt.Errorf("unknown format %q", t.Format)
}

// appenders returns the appender of each column of a batch.
func appenders(batch arrow.RecordBatch, columns []column) []appender {
	all := make([]appender, len(columns))
	for i, values := range batch.Columns() {
		all[i] = jsonAppender(values, columns[i].Type == "JSON")
	}
	return all
}

// jsonHead returns the beginning of a JSON result: the columns.
func jsonHead(columns []column) []byte {
	head, err := json.Marshal(columns)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return append(append([]byte(`{"columns":`), head...), ',')
}

// maxElapsed bounds elapsed_ms, so that the length of a JSON result's end is bounded.
const maxElapsed = 1e9

// jsonTail returns the end of a JSON result with the given elapsed time in milliseconds.
func jsonTail(t *task, outcome Outcome, elapsed float64) []byte {
	tail := struct {
		RowCount  int64      `json:"row_count"`
		Truncated *string    `json:"truncated"`
		AsOf      *time.Time `json:"as_of"`
		QueryID   string     `json:"query_id"`
		ElapsedMS float64    `json:"elapsed_ms"`
	}{RowCount: outcome.Rows, AsOf: t.AsOf, QueryID: t.ID, ElapsedMS: elapsed}
	if outcome.Truncated != "" {
		tail.Truncated = &outcome.Truncated
	}
	text, err := json.Marshal(tail)
	if err != nil {
		panic(err) // these types can always be encoded
	}
	return append([]byte(","), text[1:]...)
}

// jsonEnd returns the end of a JSON result with the time elapsed until now.
func jsonEnd(t *task, outcome Outcome) []byte {
	return jsonTail(t, outcome, min(float64(time.Since(t.Started).Microseconds())/1000, maxElapsed))
}

// maxJSONEnd returns the maximum length of the result of jsonEnd in bytes.
func maxJSONEnd(t *task) int64 {
	return int64(len(jsonTail(t, Outcome{Rows: t.Limit, Truncated: truncatedBytes}, maxElapsed-0.001)))
}

// The values of [Outcome.Truncated].
const (
	truncatedRows  = "rows"
	truncatedBytes = "bytes"
)

// A rowEncoder writes row by row: separator (before each row but the first), opening, the cells with their prefixes,
// closing.
type rowEncoder struct {
	out       *sink
	columns   []column
	reserve   int64 // maximum bytes of the end of the format
	separator string
	opening   string
	closing   string
	prefixes  []string                           // one per column
	cell      func(appender, []byte, int) []byte // appends the cell of a row
	row       []byte                             // buffer
	begun     bool                               // a row was written
}

func (b *rowEncoder) write(batch arrow.RecordBatch) (int64, error) {
	cells := appenders(batch, b.columns)
	for i := range int(batch.NumRows()) {
		b.row = b.row[:0]
		if b.begun {
			b.row = append(b.row, b.separator...)
		}
		b.row = append(b.row, b.opening...)
		for j, cell := range cells {
			b.row = b.cell(cell, append(b.row, b.prefixes[j]...), i)
		}
		b.row = append(b.row, b.closing...)
		if int64(len(b.row)) > b.out.remaining()-b.reserve {
			return int64(i), nil
		}
		b.begun = true
		if _, err := b.out.Write(b.row); err != nil {
			return int64(i), err
		}
	}
	return batch.NumRows(), nil
}

func (b *rowEncoder) end(Outcome) error { return nil }

// jsonCell appends the JSON of a value.
func jsonCell(value appender, dst []byte, i int) []byte { return value(dst, i) }

// commaPrefixes returns the prefixes of cells that are separated by commas.
func commaPrefixes(count int) []string {
	prefixes := make([]string, count)
	for i := 1; i < count; i++ {
		prefixes[i] = ","
	}
	return prefixes
}

// jsonRows encodes {"columns": [{"name": …, "type": …}], "rows": [[…], …], …}.
type jsonRows struct {
	rowEncoder
	task *task
}

func newJSONRows(t *task, out *sink, r *rows) (*jsonRows, error) {
	reserve := int64(len("]")) + maxJSONEnd(t)
	err := out.begin(append(jsonHead(r.columns), `"rows":[`...), reserve)
	rows := rowEncoder{
		out: out, columns: r.columns, reserve: reserve, separator: ",", opening: "[", closing: "]",
		prefixes: commaPrefixes(len(r.columns)), cell: jsonCell,
	}
	return &jsonRows{rows, t}, err
}

func (j *jsonRows) end(outcome Outcome) error {
	_, err := j.out.Write(append([]byte("]"), jsonEnd(j.task, outcome)...))
	return err
}

// newNDJSON returns an encoder that writes each row as a line with an object.
func newNDJSON(out *sink, r *rows) *rowEncoder {
	prefixes := make([]string, len(r.columns))
	for i, name := range uniqueNames(r.columns) {
		prefixes[i] = string(append(appendText(nil, name), ':'))
		if i > 0 {
			prefixes[i] = "," + prefixes[i]
		}
	}
	return &rowEncoder{
		out: out, columns: r.columns, opening: "{", closing: "}\n", prefixes: prefixes, cell: jsonCell,
	}
}

// uniqueNames returns the names of the columns. A name that occurred before gets the suffix _N.
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

// newCSV returns an encoder of CSV as RFC 4180 describes it, except that a line ends with a line feed alone. A NULL is
// an empty field, and an empty text is "".
func newCSV(out *sink, r *rows) (*rowEncoder, error) {
	var head []byte
	for i, c := range r.columns {
		if i > 0 {
			head = append(head, ',')
		}
		head = appendCSVField(head, c.Name)
	}
	if err := out.begin(append(head, '\n'), 0); err != nil {
		return nil, err
	}
	var value []byte
	cell := func(of appender, dst []byte, i int) []byte {
		value = of(value[:0], i)
		switch value[0] {
		case 'n': // null
			return dst
		case '"':
			var text string
			if json.Unmarshal(value, &text) == nil { // always true for a JSON string
				return appendCSVField(dst, text)
			}
		case '[', '{':
			return appendCSVField(dst, string(value))
		}
		return append(dst, value...)
	}
	return &rowEncoder{
		out: out, columns: r.columns, closing: "\n", prefixes: commaPrefixes(len(r.columns)), cell: cell,
	}, nil
}

// appendCSVField appends a CSV field, in quotes if it is empty or has special characters.
func appendCSVField(dst []byte, text string) []byte {
	if text != "" && !strings.ContainsAny(text, ",\"\r\n") {
		return append(dst, text...)
	}
	return append(append(append(dst, '"'), strings.ReplaceAll(text, `"`, `""`)...), '"')
}

// jsonColumns encodes {"columns": [{"name": …, "type": …}], "values": [[…], …], …}, with a list per column. It holds
// the lists in memory until the end, at most maxHeldBytes.
type jsonColumns struct {
	task   *task
	out    *sink
	head   []byte
	kinds  []column
	values [][]byte // the list of each column so far
	ends   []int    // length of each list before the row that is being added
	room   int64    // bytes that the lists can still grow by
}

func newJSONColumns(t *task, out *sink, r *rows) (*jsonColumns, error) {
	j := &jsonColumns{
		task: t, out: out, kinds: r.columns, values: make([][]byte, len(r.columns)), ends: make([]int, len(r.columns)),
	}
	j.head = append(jsonHead(r.columns), `"values":[`...)
	around := int64(len(j.head)+len("[],")*len(r.columns)+len("]")) + maxJSONEnd(t)
	if j.room = min(out.remaining()-around, maxHeldBytes); j.room < 0 {
		return nil, limitTooSmall(around, out.remaining())
	}
	return j, nil
}

func (j *jsonColumns) write(batch arrow.RecordBatch) (int64, error) {
	cells := appenders(batch, j.kinds)
	for i := range int(batch.NumRows()) {
		size := int64(0)
		for c, cell := range cells {
			j.ends[c] = len(j.values[c])
			if len(j.values[c]) > 0 {
				j.values[c] = append(j.values[c], ',')
			}
			j.values[c] = cell(j.values[c], i)
			size += int64(len(j.values[c]) - j.ends[c])
		}
		if size > j.room {
			for c, end := range j.ends {
				j.values[c] = j.values[c][:end]
			}
			return int64(i), nil
		}
		j.room -= size
	}
	return batch.NumRows(), nil
}

func (j *jsonColumns) end(outcome Outcome) error {
	parts := [][]byte{j.head}
	for i, values := range j.values {
		if i > 0 {
			parts = append(parts, []byte(","))
		}
		parts = append(parts, []byte("["), values, []byte("]"))
	}
	for _, part := range append(parts, []byte("]"), jsonEnd(j.task, outcome)) {
		if _, err := j.out.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// An arrowStream encodes an Arrow IPC stream.
type arrowStream struct {
	*ipc.Writer
	out *payloadWriter
}

func newArrow(out *sink, r *rows) *arrowStream {
	payloads := &payloadWriter{out: out}
	return &arrowStream{ipc.NewWriterWithPayloadWriter(payloads, ipc.WithSchema(r.schema)), payloads}
}

func (a *arrowStream) write(batch arrow.RecordBatch) (int64, error) {
	err := a.Write(batch)
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
	if err := a.Write(part); !errors.Is(err, errNoRoom) {
		return count, err
	}
	return 0, nil // the dictionaries of the batch do not fit
}

func (a *arrowStream) end(Outcome) error { return a.Close() }

// A payloadWriter writes the messages of an Arrow stream that fit. It returns errNoRoom for a message that does not.
type payloadWriter struct {
	out   *sink
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
