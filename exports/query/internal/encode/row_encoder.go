package encode

import (
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
)

// A rowEncoder writes row by row: separator (before each row but the first), opening, the cells with their prefixes,
// closing.
type rowEncoder struct {
	out       *Sink
	columns   []Column
	reserve   int64 // maximum bytes of the end of the format
	separator string
	opening   string
	closing   string
	prefixes  []string // one per column
	cell      func(arrow.Array, *Type) appender
	row       []byte // buffer
	begun     bool   // a row was written
}

func (b *rowEncoder) Write(batch arrow.RecordBatch) (int64, error) {
	cells := make([]appender, len(b.columns))
	for i, values := range batch.Columns() {
		cells[i] = b.cell(values, b.columns[i].Type)
	}
	for i := range int(batch.NumRows()) {
		b.row = b.row[:0]
		if b.begun {
			b.row = append(b.row, b.separator...)
		}
		b.row = append(b.row, b.opening...)
		for j, cell := range cells {
			b.row = cell(append(b.row, b.prefixes[j]...), i)
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

func (b *rowEncoder) End(protocol.Outcome) error { return nil }

// commaPrefixes returns the prefixes of cells that are separated by commas.
func commaPrefixes(count int) []string {
	prefixes := make([]string, count)
	for i := 1; i < count; i++ {
		prefixes[i] = ","
	}
	return prefixes
}

// newNDJSON returns an encoder that writes each row as a line with an object.
func newNDJSON(out *Sink, columns []Column) *rowEncoder {
	prefixes := make([]string, len(columns))
	for i, name := range columnNames(columns) {
		prefixes[i] = string(append(appendText(nil, name), ':'))
		if i > 0 {
			prefixes[i] = "," + prefixes[i]
		}
	}
	return &rowEncoder{
		out: out, columns: columns, opening: "{", closing: "}\n", prefixes: prefixes, cell: jsonAppender,
	}
}
