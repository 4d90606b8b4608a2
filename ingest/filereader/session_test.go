package filereader

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strconv"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/parquet-go/parquet-go"
)

// newSession returns a session of calls.
func newSession(t *testing.T) *Session {
	t.Helper()
	command, err := Command()
	noError(t, err)
	s := NewSession(t.TempDir(), Options{Command: command, Dataset: "calls", Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(s.Close)
	return s
}

// readNext makes a session read a file.
func (s *Session) readNext(t *testing.T, format string, content []byte) *Rows {
	t.Helper()
	scratch, err := s.Scratch()
	noError(t, err)
	_, err = scratch.Write(content)
	noError(t, err)
	rows, err := s.Read(t.Context(), format)
	noError(t, err)
	return rows
}

// manyRows returns an Arrow file with more rows than fit into a pipe.
func manyRows(t *testing.T, text string) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: "summary", Type: arrow.BinaryTypes.String}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	for range 20_000 {
		builder.Field(0).(*array.StringBuilder).Append(text)
	}
	return arrowFileOf(t, schema, []arrow.RecordBatch{builder.NewRecordBatch()})
}

// One child reads the files of a session, of each format, and a file that cannot be read does not affect the others.
func TestSession_FilesInTurn(t *testing.T) {
	t.Parallel()
	schema, batches := twoBatches(t)
	small, stream, parquet := arrowFileOf(t, schema, batches), smallArrow(t), smallParquet(t, "snappy")
	s := newSession(t)
	var former *child
	for i, test := range []struct {
		format  string
		content []byte
		rows    int
		failed  bool
		reused  bool
	}{
		{Parquet, parquet, 20, false, false},
		{Parquet, smallParquet(t, "zstd"), 20, false, true},
		{Parquet, parquet[:len(parquet)-1], 0, true, false},
		{Parquet, withGap(parquet), 20, false, false},
		{Parquet, parquet, 20, false, true},
		{Arrow, stream, 2, false, false},
		{Arrow, manyRows(t, "x"), 20_000, false, true},
		{Arrow, small, 6, false, true},
		{Arrow, stream[:len(stream)-20], 0, true, false},
		{Arrow, nil, 0, true, false},
		{Arrow, stream, 2, false, false},
	} {
		rows := s.readNext(t, test.format, test.content)
		text, err := io.ReadAll(rows)
		rows.Close()
		failure := (*Error)(nil)
		if n := bytes.Count(text, []byte("\n")); n != test.rows || errors.As(err, &failure) != test.failed {
			t.Errorf("file %d: got %d rows and %v, want %d, failed: %t", i, n, err, test.rows, test.failed)
		}
		if reused := rows.child == former; reused != test.reused {
			t.Errorf("file %d: got the child of the file before: %t, want %t", i, reused, test.reused)
		}
		former = rows.child
	}
}

// If a child dies that has read other files, a new child reads the file again, and each row is returned once. If a
// child dies that has read no other file, the file has failed.
func TestSession_DeathOfTheChild(t *testing.T) {
	t.Parallel()
	want, err := io.ReadAll(newSession(t).readNext(t, Arrow, manyRows(t, "y")))
	noError(t, err)
	for name, read := range map[string]int{"before the first row": 0, "within the rows": len(want) / 2} {
		s := newSession(t)
		for i, fails := range []bool{true, false, false} {
			rows := s.readNext(t, Arrow, smallArrow(t))
			if i > 0 {
				_, err := io.Copy(io.Discard, rows)
				noError(t, err)
				rows.Close()
				rows = s.readNext(t, Arrow, manyRows(t, "y"))
			}
			got := make([]byte, min(read, len(want)*i))
			_, err := io.ReadFull(rows, got)
			noError(t, err)
			rows.child.process.Kill()
			rest, err := io.ReadAll(rows)
			rows.Close()
			if failure := (*Error)(nil); errors.As(err, &failure) != fails {
				t.Errorf("%s, file %d: got %v, want a failure: %t", name, i, err, fails)
			}
			if !fails && !bytes.Equal(append(got, rest...), want) {
				t.Errorf("%s, file %d: got other rows than without the death", name, i)
			}
		}
	}
}

// parquetOfTexts returns a Parquet file with a column of texts. The one at place bad is not UTF-8.
func parquetOfTexts(t *testing.T, rows, bad int) []byte {
	t.Helper()
	type call struct {
		ID      string            `parquet:"id"`
		Summary string            `parquet:"summary"`
		Nested  map[string]string `parquet:"metadata"`
	}
	calls := make([]call, rows)
	for i := range calls {
		calls[i] = call{ID: strconv.Itoa(i), Summary: "é", Nested: map[string]string{"k": "é"}}
	}
	calls[bad].Summary = "Gr\xfc\xdfe"
	calls[rows-1].Nested["k"] = "\xff"
	var out bytes.Buffer
	writer := parquet.NewGenericWriter[call](&out)
	_, err := writer.Write(calls)
	noError(t, errors.Join(err, writer.Close()))
	return out.Bytes()
}

// A text of a Parquet file that is not UTF-8 refuses its row only, in small files and large ones. Each row is returned
// once.
func TestSession_TextsThatAreNotUTF8(t *testing.T) {
	t.Parallel()
	const many, bad = 12_000, 9_000
	content := parquetOfTexts(t, many, bad)
	s := newSession(t)
	for name, open := range map[string]func() (*Rows, error){
		"copied": func() (*Rows, error) { return s.readNext(t, Parquet, content), nil },
		"direct": func() (*Rows, error) { return s.ReadFile(t.Context(), openContent(t, content), Parquet) },
	} {
		rows, err := open()
		noError(t, err)
		text, err := io.ReadAll(rows)
		noError(t, err)
		rows.Close()
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		if len(lines) != many {
			t.Fatalf("%s: got %d rows, want %d", name, len(lines), many)
		}
		for i, line := range lines {
			row, defect := ParseRow(line)
			want := map[int]string{many - 1: "metadata is not UTF-8 text", bad: "summary is not UTF-8 text"}[i]
			if defect != want || !bytes.Contains(row, []byte(`"id":"`+strconv.Itoa(i)+`"`)) {
				t.Fatalf("%s, row %d: got %s and %q, want %q", name, i, row, defect, want)
			}
		}
		// The session can read other files.
		other := s.readNext(t, Parquet, smallParquet(t, "snappy"))
		text, err = io.ReadAll(other)
		noError(t, err)
		other.Close()
		if n := bytes.Count(text, []byte("\n")); n != 20 {
			t.Errorf("%s: got %d rows of the next file, want 20", name, n)
		}
	}
}
