package encode

import (
	"fmt"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// An Encoder writes a result in one format. All its output, including the end of the format, stays within the limit of
// its [Sink]: it stops at the first row that does not fit.
type Encoder interface {
	// Write writes the rows that fit, and returns their number. It may change the batch.
	Write(rows arrow.RecordBatch) (int64, error)
	// End writes the end of the format.
	End(protocol.Outcome) error
}

// A Column is a column of a result with its DuckDB type name.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// New returns the encoder of the task's format. It returns a Failure if the limit is too small for a result
// without rows.
func New(t *protocol.Task, out *Sink, schema *arrow.Schema, columns []Column) (Encoder, error) {
	switch t.Format {
	case protocol.JSON:
		return newJSONRows(t, out, columns)
	case protocol.JSONColumns:
		return newJSONColumns(t, out, columns)
	case protocol.NDJSON:
		return newNDJSON(out, columns), nil
	case protocol.CSV:
		return newCSV(out, columns)
	case protocol.Arrow:
		return newArrow(out, schema), nil
	case protocol.Parquet:
		return newParquet(t, out, schema, columns)
	}
	return nil, fmt.Errorf("unknown format %q", t.Format)
}

// uniqueNames returns the names of the columns. A name that occurred before gets the suffix _N.
func uniqueNames(columns []Column) []string {
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
