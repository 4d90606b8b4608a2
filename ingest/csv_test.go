package ingest

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/array"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// readCSV returns the rows of a CSV file of calls, and the error that ended the reading.
func readCSV(t *testing.T, in io.Reader) (lines []readRow, failure error) {
	t.Helper()
	c := newBatcher(newCSVReader(in, schema.Calls), maxLine)
	for c.more() {
		batch := c.nextBatch()
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
	return lines, c.failure()
}

func TestCSV_Records(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"":                           "[] <nil>",
		"\n\n":                       "[] <nil>",
		"id\n":                       "[] <nil>",
		"id\n1\n2":                   `[{2 {"id":"1"} } {3 {"id":"2"} }] <nil>`,
		"\ufeffID\r\n1\r\n\r\n2\r\n": `[{2 {"id":"1"} } {4 {"id":"2"} }] <nil>`,
		"id\r1\n2\r\n\r3\r\r\n4":     `[{2 {"id":"1"} } {3 {"id":"2"} } {5 {"id":"3"} } {7 {"id":"4"} }] <nil>`,
		"\nid,summary\n1,\n,\"a\nb\"\n3,\"say \"\"x\"\"\"\n": `[{3 {"id":"1"} } {4 {"summary":"a\u000ab"} } {6 {"id":"3","summary":"say \"x\""} }] <nil>`,
		"id,mood,Mood\n1,a,b\n2,a,b\n":                       `[{2 {"mood":null,"Mood":null,"id":"1"} } {3 {"id":"2"} }] <nil>`,
		"metadata\n\"{\"\"a\"\": \n[1]}\"\nnull\nnot JSON\n": `[{2 {"metadata":{"a":[1]}} } {4 {} } {5 {"metadata":"not JSON"} }] <nil>`,
		// Invalid records are refused alone.
		"id\n1,2\nx\"y\n3\n":           `[{2 1,2 line is not CSV: it has 2 fields, the header has 1} {3 {"id":"x\"y"} } {4 {"id":"3"} }] <nil>`,
		"id\n\"a\"b\n2\n":              `[{2 "a"b line is not CSV: text follows a quoted field} {3 {"id":"2"} }] <nil>`,
		"id\n\"1\n2\n":                 `[{2 "1 line is not CSV: a quoted field is not closed} {3 {"id":"2"} }] <nil>`,
		"id\n\"1\n\"2\"\n3\n":          `[{2 "1 line is not CSV: text follows a quoted field} {3 {"id":"2"} } {4 {"id":"3"} }] <nil>`,
		"id,summary\n1,\"x\n2,\"y\"\n": `[{2 1,"x line is not CSV: text follows a quoted field} {3 {"id":"2","summary":"y"} }] <nil>`,
		"id\n\xff\n":                   "[{2 {\"id\":\"\ufffd\"} line is not UTF-8}] <nil>",
		"id\n\x00\n":                   `[{2 {"id":"\u0000"} }] <nil>`,
		// Delimiters.
		"id;summary\n1;a,b\n":                    `[{2 {"id":"1","summary":"a,b"} }] <nil>`,
		"id\tsummary\n1\t\"a\tb\"\n":             `[{2 {"id":"1","summary":"a\u0009b"} }] <nil>`,
		"id|summary\n1|a;b\n":                    `[{2 {"id":"1","summary":"a;b"} }] <nil>`,
		"\"id\";\"summary\"\n\"1\";\"2\"\n":      `[{2 {"id":"1","summary":"2"} }] <nil>`,
		"id,a;b;c;d\n1,2\n":                      `[{2 {"a;b;c;d":null,"id":"1"} }] <nil>`,
		"sep=^\r\nid^summary\n1^a,b\n":           `[{3 {"id":"1","summary":"a,b"} }] <nil>`,
		"\ufeff\"sep=;\"\nid;summary\n1;2\n":     `[{3 {"id":"1","summary":"2"} }] <nil>`,
		"id, \"summary\"\n1, \"a, b\"\n2, c \n":  `[{2 {"id":"1","summary":"a, b"} } {3 {"id":"2","summary":" c "} }] <nil>`,
		"id;cost;summary\n1;-0,5;0,5\n2;1.5;x\n": `[{2 {"id":"1","cost":"-0.5","summary":"0,5"} } {3 {"id":"2","cost":"1.5","summary":"x"} }] <nil>`,
		"id,cost\n1,\"0,5\"\n":                   `[{2 {"id":"1","cost":"0,5"} }] <nil>`,
		// Names of columns.
		"Id,Created At,callSid\n1,2,3\n": `[{2 {"id":"1","created_at":"2","call_sid":"3"} }] <nil>`,
		// Missing values.
		"id,cost,duration,summary\nNULL,\\N,-,\\N\nn/a,NaN,\"NULL\",NaN\n1, - ,None,-\n": `[{2 {"summary":"\\N"} } {3 {"summary":"NaN"} } {4 {"id":"1","summary":"-"} }] <nil>`,
		// Fields after the last column, and lines of empty fields.
		"id,summary\n1,x,\n2,y,,\n,\n,,,\n\"\",\n3,z,,q\n": `[{2 {"id":"1","summary":"x"} } {3 {"id":"2","summary":"y"} } {7 3,z,,q line is not CSV: it has 4 fields, the header has 2}] <nil>`,
		// Headers.
		"Calls of May\n\nid\n1\n":           `[] the header line has no column of calls; it begins with "Calls of May"`,
		"id,ID\n1,2\n":                      `[{2 {"ID":null,"id":"1"} }] <nil>`,
		"id,id\n1,2\n":                      `[] column "id" occurs twice, as "id" and "id"`,
		"id,\"x\n":                          `[] the header line is not CSV: a quoted field is not closed`,
		"\xffid\n1\n":                       `[] the header line is not UTF-8; convert the file to UTF-8`,
		strings.Repeat("x,", 1<<19) + "y\n": "[] the header line is longer than 1 MiB",
		strings.Repeat("x,", 9<<20) + "\n":  "[] the header line is longer than 1 MiB",
		strings.Repeat(",", 50_000) + "id\n" + strings.Repeat(",", 50_000) + "1\n" + "," +
			"\n": `[{2 {"id":"1"} } {3 , line is not CSV: it has 2 fields, the header has 50001}] <nil>`,
	} {
		streams := []io.Reader{strings.NewReader(in)}
		if len(in) < 1000 {
			streams = append(streams, iotest.OneByteReader(strings.NewReader(in)))
		}
		for _, stream := range streams {
			lines, failure := readCSV(t, stream)
			if got := fmt.Sprint(lines, " ", failure); got != want {
				t.Errorf("%.100q: got %s, want %s", in, got, want)
			}
		}
	}
}

// An unclosed quote or a line is read only up to the longest record allowed.
func TestCSV_LongRecord(t *testing.T) {
	t.Parallel()
	for _, begin := range []string{"id\n", "id\n\""} {
		lines, failure := readCSV(t, strings.NewReader(begin+strings.Repeat("0", maxLine+1<<20)+"\n"))
		if failure != nil || len(lines) != 1 || lines[0].defect != lineTooLong {
			t.Errorf("%q: got %d lines and %v, want one that is too long", begin, len(lines), failure)
		}
	}
}

// A table is read completely with any delimiter, line ends and quotes, and a damaged line costs one row.
func TestCSV_DamagedLineCostsOneRow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		delimiter := rapid.SampledFrom([]string{",", ";", "\t", "|"}).Draw(t, "delimiter")
		lineEnd := func() string { return rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "line end") }
		damaged := rapid.IntRange(0, 5).Draw(t, "damaged")
		in := "call_sid" + delimiter + "summary" + lineEnd()
		var want []string
		for i := range 5 {
			texts := []string{"", "x", " ", ",", ";", "a|b", "\ta", "5\""}
			if damaged == 5 { // quotes of other rows would close the damaged field
				texts = append(texts, "\"", "say \"\"", "a\nb", "\r\n")
			}
			text := rapid.SampledFrom(texts).Draw(t, "text")
			field := text
			if damaged == 5 && rapid.Bool().Draw(t, "quoted") || strings.ContainsAny(text, delimiter+"\r\n") ||
				strings.HasPrefix(text, `"`) {
				field = `"` + strings.ReplaceAll(text, `"`, `""`) + `"`
			}
			if damaged < 5 {
				field, text = "x", "x"
			}
			if i == damaged {
				field = `"x`
			} else {
				want = append(want, text)
			}
			in += fmt.Sprint(i) + delimiter + field + lineEnd()
		}
		r := newCSVReader(strings.NewReader(in), schema.Calls)
		var got []string
		for r.skip(); r.more(); r.skip() {
			text, defect, ok := r.read()
			if !ok {
				break
			}
			if defect != "" {
				continue
			}
			var row struct{ Summary string }
			if err := json.Unmarshal(text, &row); err != nil {
				t.Fatalf("%q: got %q, %v", in, text, err)
			}
			got = append(got, row.Summary)
		}
		if r.failure() != nil || !slices.Equal(got, want) {
			t.Fatalf("%q: got %q and %v, want %q", in, got, r.failure(), want)
		}
	})
}

// Every input that encoding/csv accepts gives the same records as encoding/csv.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{"a,b\n", "\"a\",\"b\"\"c\"\n", "\"a\nb\",c\n\nd,e", ",\n", "\"\",x\n", "a\\,\t\x01\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if bytes.ContainsRune(in, '\r') || !utf8.Valid(in) {
			return // encoding/csv changes \r\n in quotes; batcher refuses rows that are not UTF-8
		}
		reader := csv.NewReader(bytes.NewReader(in))
		reader.FieldsPerRecord = 2
		want, err := reader.ReadAll()
		if err != nil {
			return
		}
		r := newCSVReader(io.MultiReader(strings.NewReader("call_sid,summary\n"), bytes.NewReader(in)), schema.Calls)
		var got [][]string
		for r.skip(); r.more(); r.skip() {
			text, defect, ok := r.read()
			var row struct {
				ID      string `json:"call_sid"`
				Summary string
			}
			if ok && len(text) == 0 {
				text = []byte("{}") // all fields are empty
			}
			if err := json.Unmarshal(text, &row); !ok || defect != "" || err != nil {
				t.Fatalf("%q: got %q, %q, %v, want a row", in, text, defect, errors.Join(err, r.failure()))
			}
			got = append(got, []string{row.ID, row.Summary})
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	})
}
