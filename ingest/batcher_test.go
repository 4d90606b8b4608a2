package ingest

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// A readRow is a row as staged: its line number, its text, and its defect if it is invalid.
type readRow struct {
	line         int64
	text, defect string
}

// readLines returns the lines of a stream, the number of batches, and the error that ended the reading.
func readLines(t *testing.T, in io.Reader) (lines []readRow, batches int, failure error) {
	t.Helper()
	return readRows(t, newLineReader(in))
}

// readRows reads all rows. It returns the rows, the number of batches, and the error that ended the reading. It fails
// the test if an Arrow buffer is not released.
func readRows(t *testing.T, rows rowReader) (lines []readRow, batches int, failure error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	c := newBatcher(rows, maxLine)
	c.mem = mem
	for c.more() {
		batch := c.nextBatch()
		batches++
		for batch.Next() {
			record := batch.RecordBatch()
			numbers, texts := record.Column(0).(*array.Int64), record.Column(1).(*array.String)
			defects := record.Column(2).(*array.String)
			for i := range int(record.NumRows()) {
				l := readRow{numbers.Value(i), strings.Clone(texts.Value(i)), ""}
				if defects.IsValid(i) {
					l.defect = strings.Clone(defects.Value(i))
				}
				lines = append(lines, l)
			}
		}
		batch.Release()
	}
	return lines, batches, c.failure()
}

func TestLines_NumbersAndDefects(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		in   string
		want []readRow
	}{
		"nothing":               {"", nil},
		"blank lines":           {"\n\r\n  \n", nil},
		"no newline at the end": {"{}\n{1}", []readRow{{1, "{}", ""}, {2, "{1}", ""}}},
		"numbers of lines":      {"\n{}\r\n\n {1} \n", []readRow{{2, "{}", ""}, {4, "{1}", ""}}},
		"byte order mark":       {"\ufeff{}\n", []readRow{{1, "{}", ""}}},
		"not UTF-8": {"{}\n\"\xff\"\n{}", []readRow{{1, "{}", ""}, {2, "\"\uFFFD\"", "line is not UTF-8"},
			{3, "{}", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			lines, _, failure := readLines(t, iotest.OneByteReader(strings.NewReader(test.in)))
			if failure != nil || !slices.Equal(lines, test.want) {
				t.Errorf("got %+v and %v, want %+v", lines, failure, test.want)
			}
		})
	}
}

func TestLines_TooLong(t *testing.T) {
	t.Parallel()
	in := "{}\n" + strings.Repeat("x", maxLine+5) + "\n{}\n" + strings.Repeat("y", maxLine+1)
	lines, _, failure := readLines(t, strings.NewReader(in))
	if failure != nil || len(lines) != 4 {
		t.Fatalf("got %d lines and %v, want 4", len(lines), failure)
	}
	for i, long := range []bool{false, true, false, true} {
		if got := lines[i]; (got.defect == "line is longer than 16 MiB") != long || got.line != int64(i+1) {
			t.Errorf("got line %d with the defect %q, want line %d, too long: %t", got.line, got.defect, i+1, long)
		}
	}
}

// A stream that fails gives its complete lines, without the one that is readLines off.
func TestLines_StreamFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	lines, _, failure := readLines(t, io.MultiReader(strings.NewReader("{}\n{\"half\":"), iotest.ErrReader(broken)))
	if len(lines) != 1 || !errors.Is(failure, broken) {
		t.Fatalf("got %+v and %v, want one line and %v", lines, failure, broken)
	}
}

func TestBatcher_MaxRows(t *testing.T) {
	t.Parallel()
	lines, batches, failure := readLines(t, strings.NewReader(strings.Repeat("{}\n", maxBatchRows+1)))
	if failure != nil || len(lines) != maxBatchRows+1 || batches != 2 {
		t.Fatalf("got %d lines in %d batches and %v, want %d in 2", len(lines), batches, failure, maxBatchRows+1)
	}
}

// Every line that is not blank gives a row.
func FuzzLines(f *testing.F) {
	f.Add("{}\n\n{\"a\":1}\r\n\xff")
	f.Fuzz(func(t *testing.T, in string) {
		lines, _, failure := readLines(t, strings.NewReader(in))
		if failure != nil {
			t.Fatal(failure)
		}
		wanted := 0
		for text := range strings.SplitSeq(strings.TrimPrefix(in, "\ufeff"), "\n") {
			if strings.Trim(text, " \t\r\n") != "" {
				wanted++
			}
		}
		if len(lines) != wanted {
			t.Fatalf("got %d lines, want %d", len(lines), wanted)
		}
	})
}

// Blank lines count as lines and give no rows.
func TestLines_ManyBlankLines(t *testing.T) {
	t.Parallel()
	const blank = 100_000
	in := "{1}\n" + strings.Repeat("\n", blank) + strings.Repeat(" \r\n", blank) + "\t{2}"
	lines, _, failure := readLines(t, strings.NewReader(in))
	if want := []readRow{{1, "{1}", ""}, {2 + 2*blank, "{2}", ""}}; failure != nil || !slices.Equal(lines, want) {
		t.Errorf("got %v %v, want %v", lines, failure, want)
	}
}
