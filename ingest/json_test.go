package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// readJSON returns the rows of a JSON text of calls, and the error that ended the reading.
func readJSON(t *testing.T, in io.Reader) (rows []readRow, failure error) {
	t.Helper()
	rows, _, failure = readRows(t, newJSONReader(in, schema.Calls))
	return rows, failure
}

func TestJSON_Shapes(t *testing.T) {
	t.Parallel()
	row := func(line int64, text string) readRow { return readRow{line, text, ""} }
	for name, test := range map[string]struct {
		in   string
		want []readRow
	}{
		"nothing":     {"", nil},
		"white space": {"\ufeff \r\n\n", nil},
		"one object":  {`{"id":1}`, []readRow{row(1, `{"id":1}`)}},
		"lines":       {"\n{\"a\":1}\r\n\n {\"b\":2} \n", []readRow{row(2, `{"a":1}`), row(4, `{"b":2}`)}},
		"objects without line breaks": {`{"a":1}{"b":2} {}`, []readRow{row(1, `{"a":1}`), row(2, `{"b":2}`),
			row(3, `{}`)}},
		"objects with commas":  {"{\"a\":1},\n{\"b\":2}", []readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"a JSON text sequence": {"\x1e{\"a\":1}\n\x1e{\"b\":2}\n", []readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"printed on several lines": {"{\n \"a\":1\n}\n{\n \"b\":[\n{}]\n}",
			[]readRow{row(1, "{\n \"a\":1\n}"), row(4, "{\n \"b\":[\n{}]\n}")}},
		"an array":                 {` [{"a":"]\\"},{"b":2} ]`, []readRow{row(1, `{"a":"]\\"}`), row(2, `{"b":2}`)}},
		"an empty array":           {"\ufeff [ ] ", nil},
		"arrays one after another": {"[{\"a\":1}]\n[]\n[{\"b\":2}]", []readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"an array and lines":       {"[{\"a\":1}]\n{\"b\":2}\n", []readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"lines and an array":       {"{\"b\":2}\n[{\"a\":1}]\n", []readRow{row(1, `{"b":2}`), row(2, `{"a":1}`)}},
		"a page": {`{"data":[{"a":1},{"b":2}],"meta":{"page":1,"x":"}]"}}`,
			[]readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"a page with rows last": {`{"meta":{"page":1},"data":[{"a":1}]}`, []readRow{row(1, `{"a":1}`)}},
		"an empty page":         {`{"data":[],"meta":{}}`, nil},
		"pages on lines": {"{\"data\":[{\"a\":1}],\"meta\":{}}\n{\"data\":[{\"b\":2}]}\n",
			[]readRow{row(1, `{"a":1}`), row(2, `{"b":2}`)}},
		"an array of pages": {`[{"data":[{"a":1}]}, {"data":[{"b":2}],"meta":{}},{"c":3}]`,
			[]readRow{row(1, `{"a":1}`), row(2, `{"b":2}`), row(3, `{"c":3}`)}},
		"a detail":                      {`{"data":{"a":1}}`, []readRow{row(1, `{"a":1}`)}},
		"an event":                      {`{"type":"call.ended","data":{"calls":[{"a":1}]}}`, []readRow{row(1, `{"a":1}`)}},
		"rows by the name of a dataset": {`{"calls":[{"a":1}]}`, []readRow{row(1, `{"a":1}`)}},
		"a row with data":               {`{"id":1,"data":[{"a":1}]}`, []readRow{row(1, `{"id":1,"data":[{"a":1}]}`)}},
		"a row with data in metadata": {`{"metadata":{"data":[{"a":1}]}}`,
			[]readRow{row(1, `{"metadata":{"data":[{"a":1}]}}`)}},
		"data as text": {`{"data":"[]","x":[]}`, []readRow{row(1, `{"data":"[]","x":[]}`)}},
		"a line that is not JSON": {"{\"a\":1}\nid,x\n{\"b\":2}",
			[]readRow{row(1, `{"a":1}`), row(2, "id,x"), row(3, `{"b":2}`)}},
		"text after an object": {"{\"a\":1}}x\n{\"b\":2}",
			[]readRow{row(1, `{"a":1}`), row(2, "}x"), row(3, `{"b":2}`)}},
		"other brackets": {"{\"a\":1]}\n{\"b\":2}", []readRow{row(1, `{"a":1]}`), row(2, `{"b":2}`)}},
		"a line without its end": {"{\"a\":[1,\n{\"b\":2}\n{\"c\":3}",
			[]readRow{row(1, `{"a":[1,`), row(2, `{"b":2}`), row(3, `{"c":3}`)}},
		"a line with an open string": {"{\"a\":\"x}\n{\"b\":\"y\"}\n",
			[]readRow{row(1, `{"a":"x}`), row(2, `{"b":"y"}`)}},
		"an object without its end": {"{\n \"a\":1,\n{\n \"b\":2\n}",
			[]readRow{row(1, "{\n \"a\":1,"), row(3, "{\n \"b\":2\n}")}},
		"an element with an open string": {"[\n {\"a\":\"x},\n {\"b\":\"y\"}\n]",
			[]readRow{row(1, `{"a":"x},`), row(2, `{"b":"y"}`)}},
		"an object at the end": {"{\"a\":1}\n{\"b\":", []readRow{row(1, `{"a":1}`), row(2, `{"b":`)}},
		"duplicate keys": {`{"a":1,"b":[{"c":1,"\u0063":{"d":2}}],"a" : "x"}`,
			[]readRow{row(1, `{"b":[{"\u0063":{"d":2}}],"a" : "x"}`)}},
		"not UTF-8": {"{}\n\"\xff\"\n{}", []readRow{row(1, "{}"), {2, "\"\uFFFD\"", "line is not UTF-8"}, row(3, "{}")}},
	} {
		t.Run(name, func(t *testing.T) {
			for part, in := range map[string]io.Reader{"whole": strings.NewReader(test.in),
				"byte by byte": iotest.OneByteReader(strings.NewReader(test.in))} {
				if rows, failure := readJSON(t, in); failure != nil || !slices.Equal(rows, test.want) {
					t.Errorf("%s: got %+v and %v, want %+v", part, rows, failure, test.want)
				}
			}
		})
	}
}

// A syntax error between the elements of a list ends the reading after the elements before it.
func TestJSON_BrokenList(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`[{"a":1}, {"b":`: "unexpected EOF", `{"data":[{"a":1}]`: "unexpected EOF",
		`[{"a":1},]`: "unexpected ']' in the JSON array", `[{"a":1}, {}}`: "unexpected '}' in the JSON array",
		`[{"a":1},,`: "unexpected ',' in the JSON array",
	} {
		rows, failure := readJSON(t, strings.NewReader(in))
		if len(rows) == 0 || rows[0].text != `{"a":1}` || failure == nil || failure.Error() != want {
			t.Errorf("%s: got %+v and %v, want a row and %s", in, rows, failure, want)
		}
	}
}

func TestJSON_TooLong(t *testing.T) {
	t.Parallel()
	long := `{"a":"` + strings.Repeat("x", maxLine) + `"}`
	for _, in := range []string{"{}\n" + long + "\n{}\n" + strings.Repeat("y", maxLine+1),
		"[{}," + long + ",{}," + long + "]"} {
		rows, failure := readJSON(t, strings.NewReader(in))
		if failure != nil || len(rows) != 4 {
			t.Fatalf("%.10s: got %d rows and %v, want 4", in, len(rows), failure)
		}
		for i, long := range []bool{false, true, false, true} {
			if got := rows[i]; (got.defect == lineTooLong) != long || got.line != int64(i+1) {
				t.Errorf("got row %d with the defect %q, want row %d, too long: %t", got.line, got.defect, i+1, long)
			}
		}
	}
}

// A stream that fails gives its complete rows, without the one that is cut off.
func TestJSON_StreamFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, text := range []string{"{}\n{\"half\":", "{}\nhalf", "[{},{\"half", `{"data":[{}],"meta":`} {
		rows, failure := readJSON(t, io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)))
		if len(rows) != 1 || !errors.Is(failure, broken) {
			t.Errorf("%s: got %+v and %v, want one row and %v", text, rows, failure, broken)
		}
	}
}

// drawJSON draws a JSON value.
func drawJSON(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 5).Draw(t, "kind"); {
	case kind == 0 && depth > 0:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			list = append(list, drawJSON(t, depth-1))
		}
		return list
	case kind < 3 && depth > 0:
		object := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			object[rapid.SampledFrom([]string{"a", "id", "data", "calls", "}", "\"", "\n", "\\"}).Draw(t, "key")] = drawJSON(t,
				depth-1)
		}
		return object
	case kind == 3:
		return rapid.Float64Range(-1e6, 1e6).Draw(t, "number")
	}
	return rapid.SampledFrom([]string{"", "\"", "{", "]}", "a\n{\"b\":1}\n", "\\", "\\\"", ",", "₹"}).Draw(t, "text")
}

// Rows are read completely and unchanged from a sequence of texts, each in any shape.
func TestJSON_TextsOfAnyShapeAreReadCompletely(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var in bytes.Buffer
		var want []any
		for range rapid.IntRange(1, 4).Draw(t, "texts") {
			var rows []any
			for range rapid.IntRange(1, 3).Draw(t, "rows") {
				row := map[string]any{"id": 1.0, "z": drawJSON(t, 3)}
				rows = append(rows, row)
			}
			want = append(want, rows...)
			indent := strings.Repeat(" ", rapid.IntRange(0, 2).Draw(t, "indent"))
			printed := func(value any) {
				text, err := json.Marshal(value)
				if rapid.Bool().Draw(t, "pretty") {
					text, err = json.MarshalIndent(value, "", indent)
				}
				if err != nil {
					t.Fatal(err)
				}
				in.Write(text)
			}
			switch shape := rapid.SampledFrom([]string{"objects", "array", "page"}).Draw(t, "shape"); shape {
			case "objects":
				for _, row := range rows {
					printed(row)
					in.WriteString(rapid.SampledFrom([]string{"", "\n", "\r\n", "\n\n", " ", ",\n"}).Draw(t, "between"))
				}
			case "array":
				printed(rows)
			default:
				printed(map[string]any{"data": rows, "meta": drawJSON(t, 2)})
			}
			in.WriteString(rapid.SampledFrom([]string{"", "\n"}).Draw(t, "end"))
		}
		text := in.String()
		stream := io.Reader(&in)
		if rapid.Bool().Draw(t, "byte by byte") {
			stream = iotest.OneByteReader(&in)
		}
		reader := newJSONReader(stream, schema.Calls)
		var got []any
		number := int64(0)
		for reader.more() {
			number += reader.skip() + 1
			row, defect, ok := reader.read()
			if !ok {
				break
			}
			var value any
			if err := json.Unmarshal(row, &value); err != nil || defect != "" {
				t.Fatalf("%q: got the row %q, %v, %q", text, row, err, defect)
			}
			got = append(got, value)
		}
		if reader.failure() != nil || !reflect.DeepEqual(got, want) || number < int64(len(want)) {
			t.Fatalf("%q: got %v and %v, want %v", text, got, reader.failure(), want)
		}
	})
}

// A line that is damaged in any way is refused, and the other lines are read.
func TestJSON_DamagedLine(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		row, err := json.Marshal(map[string]any{"id": 1.0, "z": drawJSON(t, 3)})
		if err != nil {
			t.Fatal(err)
		}
		damaged := row[:rapid.IntRange(1, len(row)-1).Draw(t, "length")]
		in := fmt.Sprintf("{\"a\":1}\n%s\n{\"b\":2}\n{\"c\":3}\n", damaged)
		reader := newJSONReader(strings.NewReader(in), schema.Calls)
		var got []string
		for reader.more() {
			if row, _, ok := reader.read(); ok {
				got = append(got, string(trimLine(row)))
			}
		}
		want := []string{`{"a":1}`, string(damaged), `{"b":2}`, `{"c":3}`}
		if reader.failure() != nil || !slices.Equal(got, want) {
			t.Fatalf("%q: got %q and %v, want %q", in, got, reader.failure(), want)
		}
	})
}

// Of several members with one key the last is kept, as in encoding/json.
func TestJSON_DuplicateKeys(t *testing.T) {
	t.Parallel()
	var printed func(t *rapid.T, depth int) string
	printed = func(t *rapid.T, depth int) string {
		if depth == 0 || rapid.Bool().Draw(t, "leaf") {
			return rapid.SampledFrom([]string{"1", `"x"`, `"\"}"`, "null", "[]", "{}"}).Draw(t, "value")
		}
		var members []string
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			key := rapid.SampledFrom([]string{`"a"`, `"\u0061"`, `"b"`, `""`, `"\""`, `"c,"`}).Draw(t, "key")
			members = append(members, key+" :"+printed(t, depth-1))
		}
		return "{" + strings.Join(members, " , ") + "}"
	}
	rapid.Check(t, func(t *rapid.T) {
		text := `{"id":1,"z":[` + printed(t, 4) + `]}`
		reader := newJSONReader(strings.NewReader(text), schema.Calls)
		row, _, _ := reader.read()
		got := bytes.Clone(row)
		var want, value any
		if err := errors.Join(json.Unmarshal([]byte(text), &want), json.Unmarshal(got, &value)); err != nil {
			t.Fatalf("%s: got %s, %v", text, got, err)
		}
		if !reflect.DeepEqual(value, want) {
			t.Fatalf("%s: got %s, want %v", text, got, want)
		}
		if again := withoutDuplicateKeys(nil, got); !bytes.Equal(again, got) {
			t.Fatalf("%s: got %s, which has duplicate keys", text, got)
		}
		canonical, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if keys := strings.Count(string(canonical), ":"); strings.Count(string(got), ":") != keys {
			t.Fatalf("%s: got %s, want %d members", text, got, keys)
		}
	})
}

// Every valid array gives its elements.
func FuzzArray(f *testing.F) {
	for _, seed := range []string{`[]`, `[{"a":"]\\""},[1,[2]]] `, `[1,]`, `[`, `{}`, `[{}} ,2]`, "\ufeff[1]x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		reader := newJSONReader(bytes.NewReader(in), schema.Calls)
		var texts []string
		for reader.more() {
			if text, _, ok := reader.read(); ok {
				texts = append(texts, string(text))
			}
		}
		var want []json.RawMessage
		if err := json.Unmarshal(bytes.TrimPrefix(in, []byte("\ufeff")), &want); err != nil || want == nil ||
			bytes.Contains(in, []byte(`"data"`)) || bytes.Contains(in, []byte(`"calls"`)) {
			return // elements before a syntax error are rows, too, and the rows of envelopes
		}
		if reader.failure() != nil || len(texts) != len(want) {
			t.Fatalf("%q: got %q and %v, want %q", in, texts, reader.failure(), want)
		}
	})
}
