package filereader

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	_ "time/tzdata" // time zones of columns: a confined process cannot read the system's
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/warehouse"
)

// arrowColumn is a column that the dataset keeps.
type arrowColumn struct {
	index  int
	prefix string // its name as JSON, with a colon
	json   bool   // its texts are JSON
}

// readArrow writes the rows of an Arrow IPC stream, or of an Arrow file, which holds a stream between a mark of eight bytes and an index.
func readArrow(file io.Reader, dataset warehouse.Dataset, w *rowWriter) (err error) {
	in := bufio.NewReaderSize(file, 256<<10)
	if mark, _ := in.Peek(6); string(mark) == "ARROW1" {
		_, _ = in.Discard(8) // a shorter file has no schema
	}
	defer func() { // an array whose buffers are not what it claims
		if cause := recover(); cause != nil {
			err = fmt.Errorf("a record batch contradicts itself: %v", cause)
		}
	}()
	stream, err := ipc.NewReader(in)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("it is not an Arrow IPC stream: %w", err)
	}
	columns, err := arrowColumns(stream.Schema(), dataset, w)
	if err != nil {
		return err
	}
	var row bytes.Buffer
	for stream.Next() {
		batch := stream.RecordBatch()
		for i := range int(batch.NumRows()) {
			if err := arrowRow(&row, batch, i, columns); err != nil {
				return err
			}
			if err := w.write(row.Bytes()); err != nil {
				return err
			}
		}
	}
	return stream.Err()
}

// arrowColumns checks the schema of a stream and returns the columns that the dataset keeps.
func arrowColumns(schema *arrow.Schema, dataset warehouse.Dataset, w *rowWriter) (columns []arrowColumn, err error) {
	checker := schemaChecker{names: map[string]bool{}}
	for i, field := range schema.Fields() {
		if err := errors.Join(checker.root(field.Name), checkArrow(&checker, field.Type, 0)); err != nil {
			return nil, err
		}
		typ, kept := w.addColumn(dataset, field.Name)
		if !kept {
			continue
		}
		name, err := json.Marshal(lower(field.Name))
		if err != nil {
			return nil, err
		}
		columns = append(columns, arrowColumn{i, string(name) + ":", typ == "JSON"})
	}
	return columns, nil
}

func checkArrow(checker *schemaChecker, typ arrow.DataType, depth int) error {
	if err := checker.column(depth); err != nil {
		return err
	}
	switch typ := typ.(type) {
	case arrow.NestedType:
		for _, field := range typ.Fields() {
			if err := checkArrow(checker, field.Type, depth+1); err != nil {
				return err
			}
		}
	case *arrow.DictionaryType:
		return checkArrow(checker, typ.ValueType, depth+1)
	case arrow.ExtensionType:
		return checkArrow(checker, typ.StorageType(), depth+1)
	}
	return nil
}

// arrowRow makes row the JSON object of a row. A null value is left out.
func arrowRow(row *bytes.Buffer, batch arrow.RecordBatch, i int, columns []arrowColumn) error {
	row.Reset()
	row.WriteByte('{')
	for _, column := range columns {
		value := batch.Column(column.index).GetOneForMarshal(i)
		if value == nil {
			continue
		}
		if row.Len() > 1 {
			row.WriteByte(',')
		}
		row.WriteString(column.prefix)
		if err := arrowValue(row, value, column.json); err != nil {
			return err
		}
	}
	row.WriteByte('}')
	return nil
}

func arrowValue(row *bytes.Buffer, value any, isJSON bool) error {
	if text, ok := value.(string); ok {
		switch {
		case !utf8.ValidString(text):
			row.WriteString(strings.ReplaceAll(text, "\n", " ")) // the row is refused because of its encoding
			return nil
		case isJSON && strings.TrimSpace(text) == "":
			value = nil
		case isJSON && json.Valid([]byte(text)):
			value = json.RawMessage(text)
		}
	}
	values := json.NewEncoder(row)
	values.SetEscapeHTML(false)
	if err := values.Encode(value); err != nil {
		return fmt.Errorf("a value cannot be written as JSON: %w", err)
	}
	row.Truncate(row.Len() - 1) // the encoder ends each value with a line break
	return nil
}
