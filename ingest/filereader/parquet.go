package filereader

import (
	"bytes"
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	duckdbgo "github.com/duckdb/duckdb-go/v2"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// An engine is an in-memory DuckDB instance with one connection.
type engine struct{ conn driver.Conn }

// openEngine opens a DuckDB instance with one thread, so that rows are read in the order of the file.
func openEngine() (*engine, error) {
	connector, err := duckdbgo.NewConnector("?threads=1&memory_limit="+strconv.Itoa(Memory)+"B", nil)
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	conn, err := connector.Connect(context.Background())
	if err != nil {
		return nil, fmt.Errorf("open DuckDB: %w", err)
	}
	e := &engine{conn}
	return e, e.run(statements.Get("filereader/settings"))
}

// run executes the statements of a script.
func (e *engine) run(script string) error {
	_, err := e.conn.(driver.ExecerContext).ExecContext(context.Background(), script, nil)
	return err
}

// each executes a statement and calls do with each batch of its result. It returns the first error of either.
func (e *engine) each(statement string, do func(arrow.RecordBatch) error) error {
	results, err := duckdb.StreamArrow(context.Background(), e.conn, statement)
	if err != nil {
		return err
	}
	defer results.Close()
	for {
		batch, err := results.Next()
		if err != nil || batch == nil {
			return err
		}
		err = do(batch)
		batch.Release()
		if err != nil {
			return err
		}
	}
}

// readParquet checks the footer of a Parquet file and writes the rows to w.
func readParquet(e *engine, file *os.File, dataset schema.Dataset, w *rowWriter) error {
	metadata, err := checkFooter(file)
	if err != nil {
		return err
	}
	stored := storedTypes(metadata)
	relation := "read_parquet(" + statements.Text("/dev/fd/"+strconv.Itoa(int(file.Fd()))) + ", hive_partitioning = false)"
	var names, types []string
	err = e.each("DESCRIBE FROM "+relation, func(batch arrow.RecordBatch) error {
		for i := range int(batch.NumRows()) { // the batch is released
			names = append(names, strings.Clone(batch.Column(0).(*array.String).Value(i)))
			types = append(types, strings.Clone(batch.Column(1).(*array.String).Value(i)))
		}
		return nil
	})
	if err != nil {
		return explain(err)
	}
	columns, err := w.fieldsOf(dataset, names)
	if err != nil {
		return err
	}
	selected := "NULL" // keeps the rows of a file without columns of the dataset
	for i, column := range columns {
		name := names[column.index]
		columns[i].index, columns[i].stored = i+1, stored[name]
		columns[i].texts = types[column.index] == "JSON" && column.typ != "JSON"
		if columnType := types[column.index]; columnType == "BIGINT" && stored[name] != nil {
			selected += ", " + statements.Ident(name)
		} else {
			selected += ", " + value(statements.Ident(name), columnType, column.typ)
		}
	}
	err = e.each("SELECT "+selected+" FROM "+relation, func(batch arrow.RecordBatch) error {
		return w.writeBatch(batch, columns)
	})
	if err != nil && strings.Contains(err.Error(), "Invalid string encoding found in Parquet file") {
		return withoutTexts(file, metadata, explain(err))
	}
	return explain(err)
}

// A tailError is an error of a file that can be read if tail replaces its bytes from the offset from on.
type tailError struct {
	error
	tail []byte
	from int64
}

// withoutTexts returns a tailError with a footer in which columns of texts are columns of bytes. DuckDB refuses a whole
// file if one text in it is not UTF-8. If the column has bytes, only the row is refused.
func withoutTexts(file *os.File, metadata *format.FileMetaData, failure error) error {
	footer, size, err := readFooter(file)
	if err != nil {
		return err
	}
	for i := range metadata.Schema {
		node := &metadata.Schema[i]
		if _, isString := node.LogicalType.Value.(*format.StringType); isString {
			node.LogicalType = format.LogicalType{}
		}
		if node.ConvertedType.Valid && (node.ConvertedType.V == deprecated.UTF8 || node.ConvertedType.V == deprecated.Enum) {
			node.ConvertedType = thrift.Null[deprecated.ConvertedType]{}
		}
	}
	tail, err := thrift.Marshal(new(thrift.CompactProtocol), metadata)
	if err != nil || len(tail) > maxVerdict/2 {
		return failure
	}
	tail = append(binary.LittleEndian.AppendUint32(tail, uint32(len(tail))), parquetMark...)
	return &tailError{failure, tail, size - int64(parquetTail) - int64(len(footer))}
}

// value returns the SQL expression for the value of a column, which writeBatch converts to JSON. Numbers, times and
// bytes are converted there, so that they mean the same as in Arrow files.
func value(column, columnType, fieldType string) string {
	isJSON := fieldType == "JSON"
	switch {
	case isJSON && strings.Contains(columnType, "VARIANT"):
		return "json(" + column + "::JSON)::VARCHAR"
	case isJSON && columnType != "JSON" && strings.Contains(columnType, "JSON"): // nested: would become a text
		return "to_json(" + column + ")::VARCHAR"
	case isJSON || columnType == "VARCHAR" || numeric.MatchString(columnType) || strings.Contains(columnType, "BLOB"):
		return column
	}
	return column + "::VARCHAR"
}

// numeric matches the types of numbers that are not integers.
var numeric = regexp.MustCompile(`^(FLOAT|DOUBLE|DECIMAL.*)$`)

// explain returns the first line of an error of DuckDB, which omits its hints about settings. It returns other errors
// unchanged.
func explain(err error) error {
	failure := (*duckdbgo.Error)(nil)
	if !errors.As(err, &failure) {
		return err
	}
	if failure.Type == duckdbgo.ErrorTypeOutOfMemory {
		return errors.New(tooMuchMemory)
	}
	reason, _, _ := strings.Cut(failure.Msg, "\n")
	return errors.New(strings.ReplaceAll(reason, "/dev/fd/"+strconv.Itoa(fileDescriptor), "file"))
}

const (
	parquetMark = "PAR1"               // first and last bytes of a file
	parquetTail = 4 + len(parquetMark) // bytes: length of the footer, and parquetMark
)

// checkFooter checks the schema in the footer of a Parquet file before DuckDB opens it. The time that DuckDB takes is
// exponential in the depth of the schema. It also checks that the file is not several files one after another. It
// returns the content of the footer.
func checkFooter(file *os.File) (*format.FileMetaData, error) {
	footer, size, err := readFooter(file)
	if err != nil {
		return nil, err
	}
	metadata, _, err := new(format.FooterDecoder).Decode(footer)
	if err != nil {
		return nil, fmt.Errorf("its footer cannot be read: %w", err)
	}
	if metadata.EncryptionAlgorithm.Value != nil {
		return nil, errors.New("it is an encrypted Parquet file, which is not read; write it without encryption")
	}
	if err := checkSchema(metadata.Schema); err != nil {
		return nil, err
	}
	return metadata, checkSingle(file, metadata, size-int64(parquetTail)-int64(len(footer)))
}

// readFooter returns the footer of a Parquet file, and the size of the file.
func readFooter(file *os.File) (footer []byte, size int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read the file's size: %w", err)
	}
	tail := make([]byte, parquetTail)
	if _, err := file.ReadAt(tail, info.Size()-int64(parquetTail)); err != nil || string(tail[4:]) != parquetMark {
		return nil, 0, errors.New("it is not a Parquet file: it does not end with PAR1")
	}
	length := int64(binary.LittleEndian.Uint32(tail))
	if length > info.Size()-int64(parquetTail) {
		return nil, 0, errors.New("it is not a Parquet file: its footer is longer than the file")
	}
	footer = make([]byte, length)
	if _, err := file.ReadAt(footer, info.Size()-int64(parquetTail)-length); err != nil {
		return nil, 0, fmt.Errorf("read the footer: %w", err)
	}
	return footer, info.Size(), nil
}

// checkSingle returns an error if file consists of several Parquet files. The footer of the last one has offsets that
// then lie in the first. It searches for the marks between two files if the footer, which begins at end, does not
// describe the bytes before it.
func checkSingle(file *os.File, metadata *format.FileMetaData, end int64) error {
	mark := make([]byte, len(parquetMark))
	if _, err := file.ReadAt(mark, 0); err != nil || string(mark) != parquetMark {
		return errors.New("it is not a Parquet file: it does not begin with PAR1")
	}
	described := int64(len(parquetMark))
	for _, group := range metadata.RowGroups {
		for _, chunk := range group.Columns {
			column := chunk.MetaData
			first := column.DataPageOffset
			if at := column.DictionaryPageOffset; at > 0 {
				first = min(first, at)
			}
			described = max(described, first+column.TotalCompressedSize,
				chunk.ColumnIndexOffset+int64(chunk.ColumnIndexLength),
				chunk.OffsetIndexOffset+int64(chunk.OffsetIndexLength),
				column.BloomFilterOffset+int64(column.BloomFilterLength))
		}
	}
	if described == end {
		return nil
	}
	const junction = parquetMark + parquetMark
	buffer := make([]byte, 1<<20)
	for at := int64(0); at < end; at += int64(len(buffer) - len(junction)) {
		n, err := file.ReadAt(buffer[:min(int64(len(buffer)), end-at)], at)
		if bytes.Contains(buffer[:n], []byte(junction)) {
			return errors.New("it is several Parquet files one after another; load each of them alone")
		}
		if err != nil {
			return fmt.Errorf("read the file: %w", err)
		}
	}
	return nil
}

// checkSchema checks the number, names and depth of the columns. nodes lists the schema in depth-first order. A
// Parquet list is a group around a repeated node, so groups and repeated nodes are counted separately.
func checkSchema(nodes []format.SchemaElement) error {
	type level struct {
		left           int32 // children that follow
		groups, repeat int   // groups and repeated nodes on the path to this node
	}
	if len(nodes) == 0 {
		return errors.New("its footer has no schema")
	}
	checker := schemaChecker{names: map[string]bool{}}
	open := []level{{left: max(0, nodes[0].NumChildren.V)}}
	for _, node := range nodes[1:] {
		for len(open) > 0 && open[len(open)-1].left == 0 {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return errors.New("its schema contradicts itself")
		}
		parent := &open[len(open)-1]
		parent.left--
		if len(open) == 1 {
			if err := checker.root(node.Name); err != nil {
				return err
			}
		}
		below := level{max(0, node.NumChildren.V), parent.groups, parent.repeat}
		switch {
		case node.RepetitionType.Valid && node.RepetitionType.V == format.Repeated:
			below.repeat++
		case below.left > 0:
			below.groups++
		}
		if err := checker.column(max(below.groups, below.repeat)); err != nil {
			return err
		}
		open = append(open, below)
	}
	return nil
}
