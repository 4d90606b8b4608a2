package duckdb_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	driver "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

var lineFields = arrow.NewSchema([]arrow.Field{
	{Name: "line", Type: arrow.PrimitiveTypes.Int64},
	{Name: "text", Type: arrow.BinaryTypes.String},
	{Name: "defect", Type: arrow.BinaryTypes.String, Nullable: true},
}, nil)

// lineReader reads records of the given numbers of rows. Line n has the text textOf(n), and every third has a defect.
// The end of the test fails if a record is not released.
type lineReader struct {
	array.RecordReader
	sizes  []int
	memory *memory.CheckedAllocator
	lines  int
	record arrow.RecordBatch
	failed error // after the last record
}

func newLineReader(t *testing.T, sizes ...int) *lineReader {
	r := &lineReader{sizes: sizes, memory: memory.NewCheckedAllocator(mallocator.NewMallocator())}
	t.Cleanup(func() {
		if r.record != nil {
			r.record.Release()
		}
		r.memory.AssertSize(t, 0)
	})
	return r
}

// textOf returns a text of 0 to 39 bytes: DuckDB stores up to 12 bytes in the vector itself.
func textOf(line int) string { return strings.Repeat("é", line%20) + strings.Repeat("x", line%2) }

func (r *lineReader) Next() bool {
	if r.record != nil {
		r.record.Release()
		r.record = nil
	}
	if len(r.sizes) == 0 {
		return false
	}
	rows := array.NewRecordBuilder(r.memory, lineFields)
	defer rows.Release()
	for range r.sizes[0] {
		r.lines++
		rows.Field(0).(*array.Int64Builder).Append(int64(r.lines))
		rows.Field(1).(*array.StringBuilder).Append(textOf(r.lines))
		if defects := rows.Field(2).(*array.StringBuilder); r.lines%3 == 0 {
			defects.Append("defect " + textOf(r.lines))
		} else {
			defects.AppendNull()
		}
	}
	r.sizes, r.record = r.sizes[1:], rows.NewRecordBatch()
	return true
}

func (r *lineReader) RecordBatch() arrow.RecordBatch { return r.record }
func (r *lineReader) Err() error                     { return r.failed }

// A statement over a source is planned once and returns the lines of each reader.
func TestLineSource_ReturnsLinesOfReaders(t *testing.T) {
	conn := openConn(t)
	source := duckdb.NewLineSource()
	defer source.Drop()
	_, err := duckdb.Exec(t.Context(), conn,
		"CREATE TABLE staged (line BIGINT, text VARCHAR, defect VARCHAR, tenant VARCHAR)")
	noError(t, err)
	statement, err := duckdb.Prepare(t.Context(), conn, "INSERT INTO staged FROM "+source.Relation)
	noError(t, err)
	defer statement.Close()
	for _, sizes := range [][]int{{}, {0}, {1}, {5}, {2048}, {2049}, {0, 3, 0, 0, 4096, 7}, {5000, 5000, 5000, 1}} {
		for _, tenant := range []string{"", "00000000-0000-4000-8000-000000000001"} {
			reader := newLineReader(t, sizes...)
			source.Open(reader, tenant)
			count, err := statement.Exec(t.Context(), conn)
			noError(t, err)
			source.Close()
			rows, err := duckdb.Select(t.Context(), conn,
				"SELECT line::VARCHAR, text, defect, tenant FROM staged ORDER BY line")
			noError(t, err)
			if int(count) != reader.lines || len(rows) != reader.lines {
				t.Fatalf("records %v: got %d rows, of which %d are stored, want %d", sizes, count, len(rows), reader.lines)
			}
			for i, row := range rows {
				line, defect := i+1, ""
				if line%3 == 0 {
					defect = "defect " + textOf(line)
				}
				if row[0].String != fmt.Sprint(line) || row[1].String != textOf(line) || row[2].String != defect ||
					row[2].Valid != (line%3 == 0) || row[3].String != tenant || row[3].Valid != (tenant != "") {
					t.Fatalf("records %v, line %d: got %v", sizes, line, row)
				}
			}
			_, err = duckdb.Exec(t.Context(), conn, "DELETE FROM staged")
			noError(t, err)
			source.Open(newLineReader(t, sizes...), tenant)
			rows, err = duckdb.Select(t.Context(), conn, "SELECT count(*)::VARCHAR FROM "+source.Relation+
				" WHERE text = repeat('é', line % 20) || repeat('x', line % 2)")
			noError(t, err)
			source.Close()
			if rows[0][0].String != fmt.Sprint(reader.lines) {
				t.Fatalf("records %v: got %s equal texts, want %d", sizes, rows[0][0].String, reader.lines)
			}
		}
	}
}

// Each failure is an error of the statement, and the records are released.
func TestLineSource_Failures(t *testing.T) {
	conn := openConn(t)
	source := duckdb.NewLineSource()
	wantError := func(query, message string) {
		t.Helper()
		if _, err := duckdb.Exec(t.Context(), conn, query); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%s: got error %v, want %q", query, err, message)
		}
	}
	all := "CREATE OR REPLACE TABLE staged AS FROM " + source.Relation
	wantError("FROM lines(0)", "source of lines 0 does not exist")
	wantError(all, "no reader")
	for _, sizes := range [][]int{{}, {3}, {3, 5000}, {5000, 5000, 5000}} {
		reader := newLineReader(t, sizes...)
		reader.failed = errors.New("stream was cut")
		source.Open(reader, "")
		wantError(all, "stream was cut")
		source.Close()
	}
	source.Open(newLineReader(t, 5000, 5000, 5000), "")
	wantError("SELECT error(text) FROM "+source.Relation+" WHERE line > 4000", "x")
	source.Close()
	source.Drop()
	wantError(all, "does not exist")
}

// The memory limit is an error of the statement: an exception of DuckDB within a table function would end the process.
func TestLineSource_MemoryLimit(t *testing.T) {
	conn := openConn(t)
	source := duckdb.NewLineSource()
	defer source.Drop()
	for range 3 {
		reader := newLineReader(t, make([]int, 40)...)
		for i := range reader.sizes {
			reader.sizes[i] = 5000
		}
		source.Open(reader, "")
		_, err := duckdb.Exec(t.Context(), conn,
			"CREATE OR REPLACE TABLE staged AS SELECT repeat(md5(line::VARCHAR), 40) || line AS t FROM "+source.Relation)
		if failure := (*driver.Error)(nil); !errors.As(err, &failure) || failure.Type != driver.ErrorTypeOutOfMemory {
			t.Fatalf("got error %v, want one of memory", err)
		}
		source.Close()
	}
}
