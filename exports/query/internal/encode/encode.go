package encode

import (
	"fmt"

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
		return newArrow(out, schema, columns), nil
	case protocol.Parquet:
		return newParquet(t, out, schema, columns)
	}
	return nil, fmt.Errorf("unknown format %q", t.Format)
}
