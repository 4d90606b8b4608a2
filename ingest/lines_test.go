package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

type cutLine struct {
	line         int64
	text, defect string
}

// cut reads a whole stream, and checks that no buffer is left behind.
func cut(t *testing.T, in io.Reader) (lines []cutLine, batches int, failure error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	c := newCutter(newLineReader(in), mem)
	for c.more() {
		batch := c.batch()
		batches++
		for batch.Next() {
			record := batch.RecordBatch()
			numbers, texts, defects := record.Column(0).(*array.Int64), record.Column(1).(*array.String), record.Column(2).(*array.String)
			for i := range int(record.NumRows()) {
				l := cutLine{numbers.Value(i), strings.Clone(texts.Value(i)), ""}
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

func TestLines(t *testing.T) {
	for name, test := range map[string]struct {
		in   string
		want []cutLine
	}{
		"nothing":               {"", nil},
		"blank lines":           {"\n\r\n  \n", nil},
		"no newline at the end": {"{}\n{1}", []cutLine{{1, "{}", ""}, {2, "{1}", ""}}},
		"numbers of lines":      {"\n{}\r\n\n {1} \n", []cutLine{{2, "{}", ""}, {4, "{1}", ""}}},
		"byte order mark":       {"\ufeff{}\n", []cutLine{{1, "{}", ""}}},
		"no UTF-8":              {"{}\n\"\xff\"\n{}", []cutLine{{1, "{}", ""}, {2, "\"\uFFFD\"", "line is no UTF-8"}, {3, "{}", ""}}},
	} {
		t.Run(name, func(t *testing.T) {
			lines, _, failure := cut(t, iotest.OneByteReader(strings.NewReader(test.in)))
			if failure != nil {
				t.Fatal(failure)
			}
			if len(lines) != len(test.want) {
				t.Fatalf("lines are %+v", lines)
			}
			for i := range lines {
				if lines[i] != test.want[i] {
					t.Errorf("line is %+v, not %+v", lines[i], test.want[i])
				}
			}
		})
	}
}

func TestLineTooLong(t *testing.T) {
	lines, _, failure := cut(t, strings.NewReader("{}\n"+strings.Repeat("x", maxLine+5)+"\n{}\n"+strings.Repeat("y", maxLine+1)))
	if failure != nil || len(lines) != 4 {
		t.Fatalf("%d lines, %v", len(lines), failure)
	}
	for i, long := range []bool{false, true, false, true} {
		if (lines[i].defect == "line is longer than 16 MiB") != long || lines[i].line != int64(i+1) {
			t.Errorf("line %d is %.80q %q", lines[i].line, lines[i].text, lines[i].defect)
		}
	}
}

// A stream that breaks gives its whole lines; the one that broke off is none.
func TestBrokenStream(t *testing.T) {
	broken := errors.New("broken")
	lines, _, failure := cut(t, io.MultiReader(strings.NewReader("{}\n{\"half\":"), iotest.ErrReader(broken)))
	if len(lines) != 1 || !errors.Is(failure, broken) {
		t.Fatalf("%+v, %v", lines, failure)
	}
}

func TestBatchesAreBounded(t *testing.T) {
	lines, batches, failure := cut(t, strings.NewReader(strings.Repeat("{}\n", 2*maxBatchRows+1)))
	if failure != nil || len(lines) != 2*maxBatchRows+1 || batches != 3 {
		t.Fatalf("%d lines in %d batches, %v", len(lines), batches, failure)
	}
}

func FuzzLines(f *testing.F) {
	f.Add("{}\n\n{\"a\":1}\r\n\xff")
	f.Fuzz(func(t *testing.T, in string) {
		lines, _, failure := cut(t, strings.NewReader(in))
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
			t.Fatalf("%d lines of %d", len(lines), wanted)
		}
	})
}

func FuzzArray(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"a":"]\\""},[1,[2]]] `, `[1,]`, `[`, `{}`, `[{}} ,2]`, "\ufeff[1]x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newCutter(newArrayReader(bytes.NewReader(in)), memory.DefaultAllocator)
		var texts []string
		for c.more() {
			if text, _, ok := c.read(); ok {
				texts = append(texts, string(text))
			}
		}
		var want []json.RawMessage
		if err := json.Unmarshal(bytes.TrimPrefix(in, []byte("\ufeff")), &want); err != nil || want == nil {
			return // what is no array may still have elements that are rows
		}
		if c.failure() != nil || len(texts) != len(want) {
			t.Fatalf("%q gives %q, %v", in, texts, c.failure())
		}
		for i := range want {
			if string(trimLine([]byte(texts[i]))) != string(want[i]) {
				t.Errorf("%q gives %q", in, texts)
			}
		}
	})
}

// Blank lines are counted, and passed over without a row of their own, however many there are.
func TestBlankLines_AreCounted(t *testing.T) {
	const blank = 10_000_000
	lines, _, failure := cut(t, strings.NewReader("{1}\n"+strings.Repeat("\n", blank)+strings.Repeat(" \r\n", blank)+"\t{2}"))
	if want := []cutLine{{1, "{1}", ""}, {2 + 2*blank, "{2}", ""}}; failure != nil || !slices.Equal(lines, want) {
		t.Errorf("got %v %v, want %v", lines, failure, want)
	}
}
