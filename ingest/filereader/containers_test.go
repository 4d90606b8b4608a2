package filereader

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// twoBatches returns two batches of three rows, with a dictionary.
func twoBatches(t testing.TB) (*arrow.Schema, []arrow.RecordBatch) {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "status",
		Type: &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	var batches []arrow.RecordBatch
	for range 2 {
		builder.Field(0).(*array.StringBuilder).AppendValues([]string{"a", "b", "c"}, nil)
		for _, text := range []string{"completed", "failed", "completed"} {
			noError(t, builder.Field(1).(*array.BinaryDictionaryBuilder).AppendString(text))
		}
		batches = append(batches, builder.NewRecordBatch())
	}
	return schema, batches
}

// arrowStreamOf returns an Arrow IPC stream, and the places between its messages.
func arrowStreamOf(t testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch) (content []byte,
	places map[int]bool) {
	t.Helper()
	places = map[int]bool{}
	var out bytes.Buffer
	writer := ipc.NewWriter(&out, ipc.WithSchema(schema))
	for _, batch := range batches {
		noError(t, writer.Write(batch))
		places[out.Len()] = true
	}
	noError(t, writer.Close())
	return out.Bytes(), places
}

// arrowFileOf returns an Arrow IPC file.
func arrowFileOf(t testing.TB, schema *arrow.Schema, batches []arrow.RecordBatch) []byte {
	t.Helper()
	var out bytes.Buffer
	writer, err := ipc.NewFileWriter(&out, ipc.WithSchema(schema))
	noError(t, err)
	for _, batch := range batches {
		noError(t, writer.Write(batch))
	}
	noError(t, writer.Close())
	return out.Bytes()
}

// openContent returns content as an open file.
func openContent(t testing.TB, content []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	noError(t, os.WriteFile(path, content, 0o600))
	file, err := os.Open(path)
	noError(t, err)
	t.Cleanup(func() { file.Close() })
	return file
}

// readBatches returns the number of rows of an Arrow file or stream, and the error that ended the reading.
func readBatches(t testing.TB, content []byte) (rows int64, err error) {
	t.Helper()
	defer func() {
		if recover() != nil {
			err = errors.New("panic")
		}
	}()
	err = arrowBatches(openContent(t, content), func(*arrow.Schema) error { return nil },
		func(batch arrow.RecordBatch) error {
			rows += batch.NumRows()
			return nil
		})
	return rows, err
}

// Everything after the end of a stream or file is read or refused.
func TestArrowBatches_BytesAfterTheEndAreReadOrRefused(t *testing.T) {
	schema, batches := twoBatches(t)
	stream, _ := arrowStreamOf(t, schema, batches)
	file := arrowFileOf(t, schema, batches)
	none, _ := arrowStreamOf(t, schema, nil)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, test := range map[string]struct {
		content []byte
		rows    int64
		reason  string // empty: read to its end
	}{
		"a stream":                      {stream, 6, ""},
		"a file":                        {file, 6, ""},
		"a file without batches":        {arrowFileOf(t, schema, nil), 0, ""},
		"streams":                       {join(stream, none, stream), 12, ""},
		"a stream without its end mark": {join(stream[:len(stream)-8]), 6, ""},
		"a stream and a byte": {join(stream, []byte{0}), 6,
			"after the end of stream 1: it is not an Arrow IPC stream"},
		"a stream and text":              {join(stream, []byte("{\"id\":1}\n")), 6, "after the end of stream 1"},
		"a stream and a file":            {join(stream, file), 6, "after the end of stream 1"},
		"a stream and half a stream":     {join(stream, stream[:100]), 6, "after the end of stream 1"},
		"files":                          {join(file, file), 0, "its footer does not describe"},
		"a file and one without batches": {join(file, arrowFileOf(t, schema, nil)), 0, "its footer does not describe"},
		"a file and a line break":        {join(file, []byte("\n")), 0, "it does not end with ARROW1"},
		"a file and a stream":            {join(file, stream), 0, "it does not end with ARROW1"},
		"half a file":                    {file[:len(file)/2], 0, "it does not end with ARROW1"},
	} {
		rows, err := readBatches(t, test.content)
		if rows != test.rows || (test.reason != "") != (err != nil) || err != nil &&
			!strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: got %d rows and %v, want %d and %q", name, rows, err, test.rows, test.reason)
		}
	}
}

// A stream that is cut off within a message is refused. Without its end mark it is complete after each message.
func TestArrowBatches_TruncatedStreamIsRefused(t *testing.T) {
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}}, nil)
	builder := array.NewInt64Builder(memory.DefaultAllocator)
	builder.AppendValues([]int64{1, 2}, nil)
	batch := array.NewRecordBatch(schema, []arrow.Array{builder.NewArray()}, 2)
	content, places := arrowStreamOf(t, schema, []arrow.RecordBatch{batch, batch})
	none, _ := arrowStreamOf(t, schema, nil)
	places[len(none)-8] = true
	for length := range content {
		if _, err := readBatches(t, content[:length]); (err == nil) != places[length] {
			t.Errorf("%d of %d bytes: got %v, want complete: %t", length, len(content), err, places[length])
		}
	}
}

// Several Parquet files one after another are refused, and so is a file that other bytes follow.
func TestCheckFooter_RefusesBytesAfterTheEnd(t *testing.T) {
	file := smallParquet(t, "snappy")
	for name, test := range map[string]struct {
		content []byte
		reason  string // empty: accepted
	}{
		"one file":              {file, ""},
		"unknown bytes inside":  {withGap(file), ""},
		"files":                 {bytes.Repeat(file, 2), "it is several Parquet files one after another"},
		"bytes after the file":  {append(bytes.Clone(file), '\n'), "it does not end with PAR1"},
		"bytes before the file": {append([]byte("\n"), file...), "it does not begin with PAR1"},
	} {
		_, err := checkFooter(openContent(t, test.content))
		if (test.reason != "") != (err != nil) || err != nil && !strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: got %v, want %q", name, err, test.reason)
		}
	}
}

// withGap returns a Parquet file with bytes between the columns and the footer.
func withGap(file []byte) []byte {
	footer := len(file) - parquetTail - int(file[len(file)-parquetTail]) - int(file[len(file)-parquetTail+1])<<8
	return bytes.Join([][]byte{file[:footer], bytes.Repeat([]byte("x"), 2<<20), file[footer:]}, nil)
}
