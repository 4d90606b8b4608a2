package encode

import (
	"encoding/json"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// jsonHead returns the beginning of a JSON result: the columns.
func jsonHead(columns []Column) []byte {
	type column struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	all := make([]column, len(columns))
	for i, c := range columns {
		all[i] = column{c.Name, c.Type.String()}
	}
	head, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings can always be encoded
	}
	return append(append([]byte(`{"columns":`), head...), ',')
}

// maxElapsed bounds elapsed_ms, so that the length of a JSON result's end is bounded.
const maxElapsed = 1e9

// jsonTail returns the end of a JSON result with the given elapsed time in milliseconds.
func jsonTail(t *protocol.Task, outcome protocol.Outcome, elapsed float64) []byte {
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
func jsonEnd(t *protocol.Task, outcome protocol.Outcome) []byte {
	return jsonTail(t, outcome, min(float64(time.Since(t.Started).Microseconds())/1000, maxElapsed))
}

// maxJSONEnd returns the maximum length of the result of jsonEnd in bytes.
func maxJSONEnd(t *protocol.Task) int64 {
	return int64(len(jsonTail(t, protocol.Outcome{Rows: t.Limit, Truncated: protocol.TruncatedBytes}, maxElapsed-0.001)))
}

// jsonRows encodes {"columns": [{"name": …, "type": …}], "rows": [[…], …], …}.
type jsonRows struct {
	rowEncoder
	task *protocol.Task
}

func newJSONRows(t *protocol.Task, out *Sink, columns []Column) (*jsonRows, error) {
	reserve := int64(len("]")) + maxJSONEnd(t)
	err := out.begin(append(jsonHead(columns), `"rows":[`...), reserve)
	rows := rowEncoder{
		out: out, columns: columns, reserve: reserve, separator: ",", opening: "[", closing: "]",
		prefixes: commaPrefixes(len(columns)), cell: jsonAppender,
	}
	return &jsonRows{rows, t}, err
}

func (j *jsonRows) End(outcome protocol.Outcome) error {
	_, err := j.out.Write(append([]byte("]"), jsonEnd(j.task, outcome)...))
	return err
}

// maxHeldBytes bounds the bytes of a JSONColumns result, which is held in memory until its end.
const maxHeldBytes = 64 << 20

// jsonColumns encodes {"columns": [{"name": …, "type": …}], "values": [[…], …], …}, with a list per column. It holds
// the lists in memory until the end, at most maxHeldBytes.
type jsonColumns struct {
	task    *protocol.Task
	out     *Sink
	head    []byte
	columns []Column
	values  [][]byte // the list of each column so far
	ends    []int    // length of each list before the row that is being added
	room    int64    // bytes that the lists can still grow by
}

func newJSONColumns(t *protocol.Task, out *Sink, columns []Column) (*jsonColumns, error) {
	j := &jsonColumns{
		task: t, out: out, columns: columns, values: make([][]byte, len(columns)), ends: make([]int, len(columns)),
	}
	j.head = append(jsonHead(columns), `"values":[`...)
	around := int64(len(j.head)+len("[],")*len(columns)+len("]")) + maxJSONEnd(t)
	if j.room = min(out.remaining()-around, maxHeldBytes); j.room < 0 {
		return nil, limitTooSmall(around, out.remaining())
	}
	return j, nil
}

func (j *jsonColumns) Write(batch arrow.RecordBatch) (int64, error) {
	cells := make([]appender, len(j.columns))
	for i, values := range batch.Columns() {
		cells[i] = jsonAppender(values, j.columns[i].Type)
	}
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

func (j *jsonColumns) End(outcome protocol.Outcome) error {
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
