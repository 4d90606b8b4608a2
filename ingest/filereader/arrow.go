package filereader

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	_ "time/tzdata" // time zones of columns: a confined process cannot read the system's
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/voicory/warehouse/warehouse/schema"
)

// An arrowColumn is a column of the file that the dataset has.
type arrowColumn struct {
	index  int    // of the column in the schema, from 0
	prefix string // JSON name and colon
	json   bool   // the dataset stores JSON in this column
}

// readArrow writes the rows of an Arrow IPC file, or of the Arrow IPC streams in file, to w.
func readArrow(file *os.File, dataset schema.Dataset, w *rowWriter) (err error) {
	defer func() { // the Arrow library panics on arrays with invalid offsets or lengths
		if cause := recover(); cause != nil {
			err = fmt.Errorf("a record batch contradicts itself: %v", cause)
		}
	}()
	var columns []arrowColumn
	start := func(schema *arrow.Schema) (err error) {
		columns, err = arrowColumns(schema, dataset, w)
		return err
	}
	var row bytes.Buffer
	return arrowBatches(file, start, func(batch arrow.RecordBatch) error {
		for i := range int(batch.NumRows()) {
			if err := arrowRow(&row, batch, i, columns); err != nil {
				return err
			}
			if err := w.write(row.Bytes()); err != nil {
				return err
			}
		}
		return nil
	})
}

// arrowColumns checks the schema of a stream and returns the columns that the dataset has. It adds the others to the
// unknown columns of w.
func arrowColumns(schema *arrow.Schema, dataset schema.Dataset, w *rowWriter) (columns []arrowColumn, err error) {
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

// checkArrow checks the number and depth of a column and the columns nested in it.
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

// arrowRow sets row to the JSON object of row i of the batch. Null values are left out.
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

// arrowValue appends a value to row as JSON. If isJSON is set, a string that holds valid JSON is appended unchanged,
// and a blank string becomes null. Invalid UTF-8 is copied, so that the row is refused for its encoding.
func arrowValue(row *bytes.Buffer, value any, isJSON bool) error {
	if text, ok := value.(string); ok {
		switch {
		case !utf8.ValidString(text):
			row.WriteString(strings.ReplaceAll(text, "\n", " ")) // keeps the row on one line
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
	row.Truncate(row.Len() - 1) // remove the line break of the encoder
	return nil
}
