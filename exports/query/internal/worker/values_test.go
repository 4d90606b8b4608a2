package worker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/querytest"
)

// A valueCase is a value of one type and its form in each format, as testdata/read_values.py prints it.
type valueCase struct {
	sql     string
	json    string // in JSON, NDJSON and, without quotes, CSV
	arrow   string // in Arrow; as in JSON if empty
	parquet string // in Parquet; as in Arrow if empty
}

// A float of Arrow is printed in Python's notation.
var valueCases = []valueCase{
	{sql: "true", json: "true"},
	{sql: "false", json: "false"},
	{sql: "'-128'::TINYINT", json: "-128"},
	{sql: "127::TINYINT", json: "127"},
	{sql: "'-32768'::SMALLINT", json: "-32768"},
	{sql: "32767::SMALLINT", json: "32767"},
	{sql: "'-2147483648'::INTEGER", json: "-2147483648"},
	{sql: "2147483647", json: "2147483647"},
	{sql: "9007199254740991", json: "9007199254740991"},
	{sql: "'-9223372036854775808'::BIGINT", json: `"-9223372036854775808"`, arrow: "-9223372036854775808"},
	{sql: "9223372036854775807", json: `"9223372036854775807"`, arrow: "9223372036854775807"},
	{sql: "0::UTINYINT", json: "0"},
	{sql: "255::UTINYINT", json: "255"},
	{sql: "65535::USMALLINT", json: "65535"},
	{sql: "4294967295::UINTEGER", json: "4294967295"},
	{sql: "18446744073709551615::UBIGINT", json: `"18446744073709551615"`, arrow: "18446744073709551615"},
	{sql: "'-99999999999999999999999999999999999999'::HUGEINT", json: `"-99999999999999999999999999999999999999"`},
	{sql: "'99999999999999999999999999999999999999'::HUGEINT", json: `"99999999999999999999999999999999999999"`},
	{sql: "-7::HUGEINT", json: "-7", arrow: `"-7"`},
	{sql: "0::UHUGEINT", json: "0", arrow: `"0"`},
	{sql: "'340282366920938463463374607431768211455'::UHUGEINT", json: `"340282366920938463463374607431768211455"`},
	{sql: "0::BIGNUM", json: "0", arrow: `"0"`},
	{sql: "-255::BIGNUM", json: "-255", arrow: `"-255"`},
	{sql: "('-1' || repeat('0', 60))::BIGNUM", json: `"-1` + strings.Repeat("0", 60) + `"`},
	{sql: "repeat('9', 50)::BIGNUM", json: `"` + strings.Repeat("9", 50) + `"`},

	{sql: "1.5::FLOAT", json: `"1.5"`},
	{sql: "'3.4028235e38'::FLOAT", json: `"3.4028235e+38"`, arrow: `"3.4028234663852886e+38"`},
	{sql: "'nan'::FLOAT", json: `"NaN"`, arrow: `"nan"`},
	{sql: "'inf'::FLOAT", json: `"Infinity"`, arrow: `"inf"`},
	{sql: "'-inf'::FLOAT", json: `"-Infinity"`, arrow: `"-inf"`},
	{sql: "'1.7976931348623157e308'::DOUBLE", json: `"1.7976931348623157e+308"`},
	{sql: "'-5e-324'::DOUBLE", json: `"-5e-324"`},
	{sql: "'nan'::DOUBLE", json: `"NaN"`, arrow: `"nan"`},
	{sql: "'inf'::DOUBLE", json: `"Infinity"`, arrow: `"inf"`},
	{sql: "'-inf'::DOUBLE", json: `"-Infinity"`, arrow: `"-inf"`},
	{sql: "-999.9::DECIMAL(4, 1)", json: `"-999.9"`},
	{sql: "9999999.99::DECIMAL(9, 2)", json: `"9999999.99"`},
	{sql: "'-999999999999999.999'::DECIMAL(18, 3)", json: `"-999999999999999.999"`},
	{sql: "('-' || repeat('9', 38))::DECIMAL(38, 0)", json: `"-` + strings.Repeat("9", 38) + `"`},
	{sql: "('0.' || repeat('9', 38))::DECIMAL(38, 38)", json: `"0.` + strings.Repeat("9", 38) + `"`},
	{sql: "-0.5::DECIMAL(20, 1)", json: `"-0.5"`},

	{sql: "'5877642-06-25 (BC)'::DATE", json: `"-5877641-06-25"`, arrow: "-2147483646"},
	{sql: "'5881580-07-10'::DATE", json: `"5881580-07-10"`, arrow: "2147483646"},
	{sql: "'infinity'::DATE", json: `"infinity"`, arrow: "2147483647"},
	{sql: "'-infinity'::DATE", json: `"-infinity"`, arrow: "-2147483647"},
	{sql: "TIME '00:00:00'", json: `"00:00:00.000"`, arrow: "0"},
	{sql: "TIME '23:59:59.999999'", json: `"23:59:59.999999"`, arrow: "86399999999"},
	{sql: "TIME '24:00:00'", json: `"24:00:00.000"`, arrow: "86400000000"},
	{sql: "TIME_NS '23:59:59.999999999'", json: `"23:59:59.999999999"`, arrow: "86399999999999"},
	{sql: "'00:00:00+15:59:59'::TIMETZ", json: `"00:00:00.000+15:59:59"`},
	{sql: "'24:00:00-15:59'::TIMETZ", json: `"24:00:00.000-15:59"`},
	{sql: "'10:00:00.25+05:30'::TIMETZ", json: `"10:00:00.250+05:30"`},
	{sql: "'290309-12-22 (BC) 00:00:00'::TIMESTAMP", json: `"-290308-12-22T00:00:00.000"`, arrow: "-9223372022400000000"},
	{sql: "'294247-01-10 04:00:54.775806'::TIMESTAMP", json: `"294247-01-10T04:00:54.775806"`,
		arrow: "9223372036854775806"},
	{sql: "'infinity'::TIMESTAMP", json: `"infinity"`, arrow: "9223372036854775807"},
	{sql: "'-infinity'::TIMESTAMP", json: `"-infinity"`, arrow: "-9223372036854775807"},
	{sql: "'294247-01-10 04:00:54'::TIMESTAMP_S", json: `"294247-01-10T04:00:54.000"`, arrow: "9223372036854",
		parquet: "9223372036854000"},
	{sql: "'infinity'::TIMESTAMP_S", json: `"infinity"`, arrow: "9223372036854775807"},
	{sql: "'-infinity'::TIMESTAMP_S", json: `"-infinity"`, arrow: "-9223372036854775807"},
	{sql: "'294247-01-10 04:00:54.775'::TIMESTAMP_MS", json: `"294247-01-10T04:00:54.775"`, arrow: "9223372036854775"},
	{sql: "'infinity'::TIMESTAMP_MS", json: `"infinity"`, arrow: "9223372036854775807"},
	{sql: "'-infinity'::TIMESTAMP_MS", json: `"-infinity"`, arrow: "-9223372036854775807"},
	{sql: "'2262-04-11 23:47:16.854775806'::TIMESTAMP_NS", json: `"2262-04-11T23:47:16.854775806"`,
		arrow: "9223372036854775806"},
	{sql: "'infinity'::TIMESTAMP_NS", json: `"infinity"`, arrow: "9223372036854775807"},
	{sql: "'-infinity'::TIMESTAMP_NS", json: `"-infinity"`, arrow: "-9223372036854775807"},
	{sql: "TIMESTAMPTZ '2026-01-02 03:04:05.5+05:30'", json: `"2026-01-01T21:34:05.500Z"`, arrow: "1767303245500000"},
	{sql: "'infinity'::TIMESTAMPTZ", json: `"infinity"`, arrow: "9223372036854775807"},
	{sql: "'-infinity'::TIMESTAMPTZ", json: `"-infinity"`, arrow: "-9223372036854775807"},
	{sql: "INTERVAL '-14 months 3 days -04:05:06.5'", json: `"-1 year -2 months 3 days -04:05:06.5"`,
		arrow: "[-14,3,-14706500000000]", parquet: `"-1 year -2 months 3 days -04:05:06.5"`},
	{sql: "INTERVAL '0 seconds'", json: `"00:00:00"`, arrow: "[0,0,0]", parquet: `"00:00:00"`},

	{sql: "''", json: `""`},
	{sql: "'null'", json: `"null"`},
	{sql: "'é\u2028\"' || chr(10) || chr(1)", json: `"é\u2028\"\n\u0001"`},
	{sql: "''::BLOB", json: `""`},
	{sql: "'\\xFF\\x00'::BLOB", json: `"/wA="`},
	{sql: "'0'::BIT", json: `"0"`},
	{sql: "'010101011'::BIT", json: `"010101011"`},
	{sql: "'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID", json: `"ffffffff-ffff-ffff-ffff-ffffffffffff"`},
	{sql: "'00000000-0000-0000-0000-000000000000'::UUID", json: `"00000000-0000-0000-0000-000000000000"`},
	{sql: "'x'::ENUM('w', 'x')", json: `"x"`},
	{sql: `'{"a":  [1, "é"]}'::JSON`, json: `{"a":[1,"é"]}`, arrow: `"{\"a\":  [1, \"é\"]}"`,
		parquet: `{"$json":{"a":[1,"é"]}}`},
	{sql: `'"x"'::JSON`, json: `"x"`, arrow: `"\"x\""`, parquet: `{"$json":"x"}`},

	{sql: "row(1, 'x')", json: `{"f1":1,"f2":"x"}`},
	{sql: "row(row(2), NULL)", json: `{"f1":{"f1":2},"f2":null}`},
	{sql: "{'f1': 1, 'b c': {'d': 'x'}}", json: `{"f1":1,"b c":{"d":"x"}}`},
	{sql: "MAP {'k': 1}", json: `{"k":1}`, arrow: `[["k",1]]`},
	{sql: "MAP {'ffffffff-ffff-ffff-ffff-ffffffffffff'::UUID: true}",
		json: `{"ffffffff-ffff-ffff-ffff-ffffffffffff":true}`, arrow: `[["ffffffff-ffff-ffff-ffff-ffffffffffff",true]]`},
	{sql: "MAP {7::UHUGEINT: '1'::BIT}", json: `[{"key":7,"value":"1"}]`, arrow: `[["7","1"]]`},
	{sql: "[true, NULL]::BOOLEAN[2]", json: `[true,null]`},
	{sql: "union_value(num := 2)", json: "2", parquet: `{"$json":2}`},
	{sql: "union_value(text := 'a\"b')", json: `"a\"b"`, parquet: `{"$json":"a\"b"}`},
}

// A form is the value of a case as JSON by kind of format: text, arrow or parquet.
type form struct{ text, arrow, parquet any }

// of returns the form in a format.
func (f form) of(format string) any {
	switch format {
	case protocol.Arrow:
		return f.arrow
	case protocol.Parquet:
		return f.parquet
	}
	return f.text
}

// each returns the form with each value wrapped.
func (f form) each(wrap func(any) any) form {
	return form{wrap(f.text), wrap(f.arrow), wrap(f.parquet)}
}

// A nesting is a type around a value.
type nesting struct {
	name  string
	sql   string // around the value %s
	empty string // without an element of the type of the value %s
	none  form   // the form of empty
	wrap  func(form) form
}

func listOf(values ...any) any { return append([]any{}, values...) }

func memberM(value any) any { return map[string]any{"m": value} }

// mapOf returns the form of a MAP with the key 1.
func mapOf(f form) form {
	entry := func(value any) any { return listOf(listOf(json.Number("1"), value)) }
	text := listOf(map[string]any{"key": json.Number("1"), "value": f.text})
	return form{text, entry(f.arrow), entry(f.parquet)}
}

var nestings = []nesting{
	{name: "alone", sql: "%s", empty: "CASE WHEN false THEN %s END", wrap: func(f form) form { return f }},
	{name: "LIST", sql: "[%s, NULL]", empty: "([%s])[1:0]", none: form{}.each(func(any) any { return listOf() }),
		wrap: func(f form) form { return f.each(func(value any) any { return listOf(value, nil) }) }},
	{name: "STRUCT", sql: "{'m': %s}", empty: "CASE WHEN false THEN {'m': %s} END",
		wrap: func(f form) form { return f.each(memberM) }},
	{name: "MAP", sql: "MAP {1: %s}", empty: "MAP(([1])[1:0], ([%s])[1:0])",
		none: form{}.each(func(any) any { return listOf() }), wrap: mapOf},
	{name: "UNION", sql: "union_value(m := %s)", empty: "CASE WHEN false THEN union_value(m := %s) END",
		wrap: func(f form) form {
			if f.text == nil {
				return form{}
			}
			return form{f.text, f.arrow, map[string]any{"$json": f.text}}
		}},
	{name: "LIST of STRUCT of MAP of LIST", sql: "[{'m': MAP {1: [%s]}}, NULL]",
		empty: "[{'m': MAP {1: ([%s])[1:0]}}]",
		none: mapOf(form{}.each(func(any) any { return listOf() })).each(memberM).
			each(func(value any) any { return listOf(value) }),
		wrap: func(f form) form {
			return mapOf(f.each(func(value any) any { return listOf(value) })).each(memberM).
				each(func(value any) any { return listOf(value, nil) })
		}},
}

// decode decodes JSON without loss of digits.
func decode(t *testing.T, text string, value any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(value); err != nil {
		t.Fatalf("decode %.1000s: %v", text, err)
	}
}

func (c valueCase) form(t *testing.T) (f form) {
	t.Helper()
	for _, of := range []struct {
		text string
		to   *any
	}{{c.json, &f.text}, {cmp.Or(c.arrow, c.json), &f.arrow}, {cmp.Or(c.parquet, c.arrow, c.json), &f.parquet}} {
		decode(t, of.text, of.to)
	}
	return f
}

// Each value of each type, alone and nested, has its form in each format, and so do NULL, a NULL in it, and a nested
// value without elements. A second implementation reads them.
func TestValues_OfEachTypeInEachFormat(t *testing.T) {
	python := querytest.Python(t)
	var columns, wholes, absent, empty []string
	var want [][]form // by column and row
	for i, c := range valueCases {
		value, null := fmt.Sprintf("v%d", i), fmt.Sprintf("CASE WHEN false THEN v%d END", i)
		for _, n := range nestings {
			columns = append(columns, fmt.Sprintf("%s AS c%d", fmt.Sprintf(n.sql, value), len(want)))
			wholes = append(wholes, "NULL")
			absent = append(absent, fmt.Sprintf(n.sql, null))
			empty = append(empty, fmt.Sprintf(n.empty, value))
			want = append(want, []form{n.wrap(c.form(t)), {}, n.wrap(form{}), n.none})
		}
	}
	values := make([]string, len(valueCases))
	for i, c := range valueCases {
		values[i] = fmt.Sprintf("%s AS v%d", c.sql, i)
	}
	with := "WITH v AS MATERIALIZED (SELECT " + strings.Join(values, ", ") + ") "
	row := func(columns []string) string { return "SELECT " + strings.Join(columns, ", ") + " FROM v" }
	statement := with + strings.Join([]string{row(columns), row(wholes), row(absent), row(empty)}, " UNION ALL ")

	folder := t.TempDir()
	for _, format := range protocol.Formats {
		text, outcome, err := runInProcess(t, protocol.Task{
			SQL: statement, Format: format, Limit: maxRows, MaxBytes: maxBytes,
		})
		if err != nil || outcome.Rows != 4 {
			t.Fatalf("%s: got %+v and %v", format, outcome, err)
		}
		querytest.NoError(t, os.WriteFile(filepath.Join(folder, format), []byte(text), 0o600))
	}
	command := exec.CommandContext(t.Context(), python, "testdata/read_values.py", folder)
	var failure bytes.Buffer
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &failure)
	}
	var got map[string][][]any
	decode(t, string(out), &got)
	for _, format := range protocol.Formats {
		if len(got[format]) != len(want) {
			t.Fatalf("%s: got %d columns, want %d", format, len(got[format]), len(want))
		}
		for i, rows := range want {
			c, n := valueCases[i/len(nestings)], nestings[i%len(nestings)]
			for row, of := range rows {
				got, want := got[format][i][row], of.of(format)
				if format == protocol.CSV {
					want = csvCell(t, want, strings.HasSuffix(c.sql, "::JSON") && (n.name == "alone" || n.name == "UNION"))
				}
				if got, want := encoded(t, got), encoded(t, want); got != want {
					t.Errorf("%s, %s in row %d as %s: got %s, want %s", c.sql, n.name, row, format, got, want)
				}
			}
		}
	}
}

// csvCell returns a value as testdata/read_values.py prints a CSV cell: nested values are decoded, others are text.
func csvCell(t *testing.T, value any, document bool) any {
	t.Helper()
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		if !document {
			return value
		}
	case []any, map[string]any:
		return value
	}
	return encoded(t, value)
}

// encoded returns a value as JSON, with the keys of objects sorted.
func encoded(t *testing.T, value any) string {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	querytest.NoError(t, encoder.Encode(value))
	return strings.TrimSpace(out.String())
}

// A HUGEINT of 39 digits has its value in formats of text. Arrow and Parquet cannot hold it, at any depth.
func TestValues_BeyondDecimal(t *testing.T) {
	for _, value := range []string{"-170141183460469231731687303715884105728", "170141183460469231731687303715884105727",
		"1" + strings.Repeat("0", 38), "-1" + strings.Repeat("0", 38)} {
		for _, n := range nestings {
			statement := "SELECT " + fmt.Sprintf(n.sql, "'"+value+"'::HUGEINT") + " AS x"
			for _, format := range protocol.Formats {
				text, _, err := runInProcess(t, protocol.Task{
					SQL: statement, Format: format, Limit: maxRows, MaxBytes: maxBytes,
				})
				if format != protocol.Arrow && format != protocol.Parquet {
					if err != nil || !strings.Contains(text, value) {
						t.Errorf("%s as %s: got %.100s and %v", statement, format, text, err)
					}
				} else if !errors.Is(err, protocol.ErrSQL) || !strings.Contains(err.Error(), "more than 38 digits") {
					t.Errorf("%s as %s: got %v, want ErrSQL", statement, format, err)
				}
			}
		}
	}
}

// An INTERVAL with a time that Arrow cannot hold is refused at any depth. A shorter one has its value.
func TestValues_LongIntervals(t *testing.T) {
	for _, n := range nestings {
		for hours, fits := range map[string]bool{
			"2562047": true, "-2562047": true, "2562048": false, "-2562048": false, "2562047788": false, "-2562047788": false,
		} {
			value := fmt.Sprintf(n.sql, "INTERVAL '"+hours+" hours'")
			statement := "SELECT " + value + " AS x, [" + value + ", " + value + "], {'a': range, 'b': " + value +
				"} FROM range(3000)" // constants and rows of their own
			for _, format := range []string{protocol.NDJSON, protocol.Arrow} {
				text, _, err := runInProcess(t, protocol.Task{
					SQL: statement, Format: format, Limit: maxRows, MaxBytes: maxBytes,
				})
				refused := errors.Is(err, protocol.ErrSQL) && strings.Contains(err.Error(), "more than 292 years")
				if fits == refused || fits && format == protocol.NDJSON && !strings.Contains(text, hours+":00:00") {
					t.Errorf("%s as %s: got %.200s and %v", statement, format, text, err)
				}
			}
		}
	}
}

// A result that is nested too deeply for Parquet is refused, and the deepest one that fits is written.
func TestValues_BoundsOfParquet(t *testing.T) {
	lists := func(depth int) string { return strings.Repeat("[", depth) + "1" + strings.Repeat("]", depth) }
	for sql, want := range map[string]string{
		lists(127): "", lists(128): "nested too deeply",
	} {
		_, outcome, err := runInProcess(t, protocol.Task{
			SQL: "SELECT " + sql, Format: protocol.Parquet, Limit: maxRows, MaxBytes: maxBytes,
		})
		if want == "" && (err != nil || outcome.Rows != 1) {
			t.Errorf("%.100s: got %+v and %v, want a row", sql, outcome, err)
		} else if want != "" && (!errors.Is(err, protocol.ErrSQL) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.100s: got %v, want %s", sql, err, want)
		}
	}
}
