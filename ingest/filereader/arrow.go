package filereader

import (
	"errors"
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/warehouse/schema"
)

// readArrow writes the rows of an Arrow IPC file, or of the Arrow IPC streams in file, to w.
func readArrow(file *os.File, dataset schema.Dataset, w *rowWriter) (err error) {
	defer func() { // the Arrow library panics on arrays with invalid offsets or lengths
		if cause := recover(); cause != nil {
			err = fmt.Errorf("a record batch contradicts itself: %v", cause)
		}
	}()
	var columns []column
	start := func(schema *arrow.Schema) (err error) {
		columns, err = arrowColumns(schema, dataset, w)
		return err
	}
	return arrowBatches(file, start, func(batch arrow.RecordBatch) error {
		return w.writeBatch(batch, columns)
	})
}

// arrowColumns checks the schema of a stream and returns the columns that the dataset has. It adds the others to the
// unknown columns of w.
func arrowColumns(schema *arrow.Schema, dataset schema.Dataset, w *rowWriter) (columns []column, err error) {
	checker := schemaChecker{names: map[string]bool{}}
	var names []string
	for _, field := range schema.Fields() {
		if err := errors.Join(checker.root(field.Name), checkArrow(&checker, field.Type, 0)); err != nil {
			return nil, err
		}
		names = append(names, field.Name)
	}
	columns, err = w.fieldsOf(dataset, names)
	for i, column := range columns {
		extension := extensionName(schema.Field(column.index))
		columns[i].uuids = column.uuids || extension == "arrow.uuid"
		columns[i].texts = extension == "arrow.json" && column.typ != "JSON"
	}
	return columns, err
}

// extensionName returns the name of the extension type of a field, or "". The library of Arrow leaves it in the
// metadata of the field, because no extension types are registered.
func extensionName(field arrow.Field) string {
	name, _ := field.Metadata.GetValue(ipc.ExtensionTypeKeyName)
	return name
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
