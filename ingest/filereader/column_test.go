package filereader

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
)

// rowsOf returns the lines of a batch with one column.
func rowsOf(t *testing.T, values arrow.Array, field column) string {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: field.name, Type: values.DataType(), Nullable: true}}, nil)
	batch := array.NewRecordBatch(schema, []arrow.Array{values}, int64(values.Len()))
	defer batch.Release()
	var out bytes.Buffer
	w := &rowWriter{out: bufio.NewWriter(&out)}
	if err := w.writeBatch(batch, []column{field}); err != nil {
		t.Fatal(err)
	}
	if err := w.out.Flush(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func TestWriteBatch_TypesOfArrow(t *testing.T) {
	text, metadata := column{name: "summary", typ: "VARCHAR"}, column{name: "metadata", typ: "JSON"}
	number := column{name: "duration_seconds", typ: "INTEGER"}
	minutes := column{name: "stt_minutes", typ: "DOUBLE"}
	moment := column{name: "ended_at", typ: "TIMESTAMPTZ"}
	list := arrow.ListOf(arrow.BinaryTypes.Binary)
	micros := arrow.FixedWidthTypes.Duration_us
	for name, test := range map[string]struct {
		typ    arrow.DataType
		values string // JSON; bytes are in Base64
		field  column
		want   string
	}{
		"text":          {arrow.BinaryTypes.String, `["a\n\"é"]`, text, `{"summary":"a\u000a\"é"}`},
		"large text":    {arrow.BinaryTypes.LargeString, `["é"]`, text, `{"summary":"é"}`},
		"text view":     {arrow.BinaryTypes.StringView, `["é"]`, text, `{"summary":"é"}`},
		"bytes":         {arrow.BinaryTypes.Binary, `["w6k="]`, text, `{"summary":"é"}`},
		"view of bytes": {arrow.BinaryTypes.BinaryView, `["w6k="]`, text, `{"summary":"é"}`},
		"fixed bytes":   {&arrow.FixedSizeBinaryType{ByteWidth: 2}, `["w6k="]`, text, `{"summary":"é"}`},
		"bytes not text": {arrow.BinaryTypes.Binary, `["qgA="]`, text,
			"!summary is not UTF-8 text\t" + `{"summary":"` + "\uFFFD" + `\u0000"}`},
		"half a surrogate": {arrow.BinaryTypes.Binary, `["7aC9"]`, text, `{"summary":"` + "\uFFFD" + `"}`},
		"surrogate pair":   {arrow.BinaryTypes.Binary, `["7aC97biA"]`, text, `{"summary":"😀"}`},
		"bytes of JSON":    {arrow.BinaryTypes.Binary, `["eyJhIjogMX0="]`, metadata, `{"metadata":{"a":1}}`},
		"nested bytes":     {list, `[["w6k=", null]]`, metadata, `{"metadata":["é",null]}`},
		"nested not text": {list, `[["qg=="]]`, metadata, "!metadata is not UTF-8 text\t" + `{"metadata":["` + "\uFFFD" +
			`"]}`},
		"list in a text": {arrow.ListOf(arrow.PrimitiveTypes.Int64), `[[1, 2]]`, text, `{"summary":"[1,2]"}`},
		"map": {arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int8), `[[{"key": "k", "value": 1}]]`, metadata,
			`{"metadata":{"k":1}}`},
		"struct": {arrow.StructOf(arrow.Field{Name: "a", Type: arrow.PrimitiveTypes.Float64, Nullable: true}), `[{"a": 0.5}]`,
			metadata, `{"metadata":{"a":0.5}}`},
		"dictionary": {&arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String},
			`["x"]`, text, `{"summary":"x"}`},
		"float in a text": {arrow.PrimitiveTypes.Float64, `[919812345678.0]`, text, `{"summary":"919812345678"}`},
		"float 32":        {arrow.PrimitiveTypes.Float32, `[0.1]`, text, `{"summary":"0.1"}`},
		"decimal in a text": {&arrow.Decimal128Type{Precision: 20, Scale: 2}, `["919812345678.00"]`, text,
			`{"summary":"919812345678"}`},
		"integer":    {arrow.PrimitiveTypes.Uint64, `[92233720368]`, text, `{"summary":92233720368}`},
		"boolean":    {arrow.FixedWidthTypes.Boolean, `[true]`, text, `{"summary":true}`},
		"null":       {arrow.BinaryTypes.String, `[null]`, text, `{}`},
		"blank JSON": {arrow.BinaryTypes.String, `[" "]`, metadata, `{}`},
		"time": {arrow.FixedWidthTypes.Timestamp_us, `["2026-03-01 10:00:00.5"]`, moment,
			`{"ended_at":"2026-03-01T10:00:00.5Z"}`},
		"date":              {arrow.FixedWidthTypes.Date32, `["2026-03-01"]`, moment, `{"ended_at":"2026-03-01"}`},
		"duration":          {micros, `[67000000]`, number, `{"duration_seconds":"67"}`},
		"negative duration": {micros, `[-500000]`, number, `{"duration_seconds":"-0.5"}`},
		"minutes":           {micros, `[90000000]`, minutes, `{"stt_minutes":"1.5"}`},
		"interval": {arrow.FixedWidthTypes.MonthDayNanoInterval, `[{"months": 1, "days": 1, "nanoseconds": -500000000}]`,
			number,
			`{"duration_seconds":"2678399.5"}`},
		"long interval": {arrow.FixedWidthTypes.MonthDayNanoInterval, `[{"months": 2147483647, "days": 0, "nanoseconds": 0}]`,
			number, `{"duration_seconds":"5566277613024000"}`},
		"interval of days": {arrow.FixedWidthTypes.DayTimeInterval, `[{"days": -1, "milliseconds": 500}]`, number,
			`{"duration_seconds":"-86399.5"}`},
		"interval of months": {arrow.FixedWidthTypes.MonthInterval, `[{"months": 1}]`, number,
			`{"duration_seconds":"2592000"}`},
		"JSON in a text": {arrow.BinaryTypes.String, `["\"a\\n\"", "null", "[1]", "1.50", "x", null]`,
			column{name: "summary", typ: "VARCHAR",
				texts: true}, `{"summary":"a\u000a"}` + "\n{}\n" + `{"summary":"[1]"}` + "\n" + `{"summary":"1.50"}` + "\n" +
				`{"summary":"x"}` + "\n{}"},
		"time of day":        {arrow.FixedWidthTypes.Time32s, `["10:00:00"]`, number, `{"duration_seconds":"10:00:00"}`},
		"decimals of a time": {arrow.FixedWidthTypes.Time64ns, `["10:00:00.25"]`, metadata, `{"metadata":"10:00:00.25"}`},
		"nested duration":    {arrow.ListOf(micros), `[[1500000]]`, metadata, `{"metadata":[1.5]}`},
	} {
		t.Run(name, func(t *testing.T) {
			values, _, err := array.FromJSON(memory.DefaultAllocator, test.typ, strings.NewReader(test.values))
			if err != nil {
				t.Fatal(err)
			}
			defer values.Release()
			if got := rowsOf(t, values, test.field); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A time of day of Arrow can be a length of a day or more.
func TestWriteBatch_LateTimes(t *testing.T) {
	for _, test := range []struct {
		value arrow.Time64
		want  string
	}{{86_400_000_000, "24:00:00"}, {360_000_500_000, "100:00:00.5"}, {-5_000_000, "-00:00:05"}} {
		builder := array.NewTime64Builder(memory.DefaultAllocator, arrow.FixedWidthTypes.Time64us.(*arrow.Time64Type))
		builder.Append(test.value)
		values := builder.NewArray()
		if got := rowsOf(t, values, column{name: "summary", typ: "VARCHAR"}); got != `{"summary":"`+test.want+`"}` {
			t.Errorf("got %s, want %s", got, test.want)
		}
		values.Release()
		builder.Release()
	}
}

func TestWriteBatch_UUIDs(t *testing.T) {
	typ := &arrow.FixedSizeBinaryType{ByteWidth: 16}
	values, _, err := array.FromJSON(memory.DefaultAllocator, typ, strings.NewReader(`["AAAAAAAAQACAAAAAAAAA/w=="]`))
	if err != nil {
		t.Fatal(err)
	}
	defer values.Release()
	want := `{"id":"00000000-0000-4000-8000-0000000000ff"}`
	if got := rowsOf(t, values, column{name: "id", typ: "UUID", uuids: true}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseRow_SplitsDefectAndRow(t *testing.T) {
	for line, want := range map[string][2]string{
		`{"id":1}`: {`{"id":1}`, ""}, "!no text\t{}": {"{}", "no text"}, "!": {"", ""}, "": {"", ""},
	} {
		if row, defect := ParseRow([]byte(line)); string(row) != want[0] || defect != want[1] {
			t.Errorf("ParseRow(%q): got %q, %q", line, row, defect)
		}
	}
}
