package sharing

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// calls is an export with a column of each type that hints compare.
var calls = schema.Export{Name: "calls", Columns: []schema.Column{
	{Field: schema.Field{Name: "seconds", ID: 1}, Type: "INTEGER"},
	{Field: schema.Field{Name: "chars", ID: 2}, Type: "BIGINT"},
	{Field: schema.Field{Name: "cost", ID: 3}, Type: "DECIMAL(10,4)"},
	{Field: schema.Field{Name: "minutes", ID: 4}, Type: "DOUBLE"},
	{Field: schema.Field{Name: "status", ID: 5}, Type: "VARCHAR"}, {Field: schema.Field{Name: "day", ID: 6}, Type: "DATE"},
	{Field: schema.Field{Name: "created_at", ID: 7}, Type: "TIMESTAMP WITH TIME ZONE"},
	{Field: schema.Field{Name: "is_bot", ID: 8}, Type: "BOOLEAN"},
}}

// kind describes how the values of a column are drawn, compared and written.
type kind struct {
	valueType string
	draw      *rapid.Generator[any]
	json, sql func(any) string
}

func number(v any) string { return fmt.Sprint(v) }

func at(v any) string {
	return time.UnixMicro(v.(int64)).UTC().Format("2006-01-02T15:04:05.000000Z")
}

func day(v any) string { return time.Unix(v.(int64)*86400, 0).UTC().Format(time.DateOnly) }

func quoted(text func(any) string) func(any) string {
	return func(v any) string { return "'" + text(v) + "'" }
}

func anyOfType[T any](g *rapid.Generator[T]) *rapid.Generator[any] {
	return rapid.Map(g, func(v T) any { return v })
}

var quarters = rapid.Map(rapid.IntRange(-20, 20), func(n int) any { return float64(n) / 4 })

var kinds = map[string]kind{
	"INTEGER":       {"int", anyOfType(rapid.Int64Range(-5, 5)), number, number},
	"BIGINT":        {"long", anyOfType(rapid.OneOf(rapid.Int64Range(-5, 5), rapid.Int64())), number, number},
	"DECIMAL(10,4)": {"double", quarters, number, number},
	"DOUBLE":        {"double", quarters, number, number},
	"VARCHAR": {"string", anyOfType(rapid.StringOfN(rapid.RuneFrom([]rune("aé~")), 0, 3, -1)), number,
		quoted(number)},
	"DATE": {"date", anyOfType(rapid.Int64Range(20500, 20510)), day, quoted(day)},
	"TIMESTAMP WITH TIME ZONE": {"timestamp", anyOfType(rapid.Int64Range(1780000000000000, 1780000000000009)), at,
		quoted(at)},
	"BOOLEAN": {"bool", anyOfType(rapid.Int64Range(0, 1)), func(v any) string { return fmt.Sprint(v == int64(1)) },
		func(v any) string { return fmt.Sprint(v == int64(1)) }},
}

// compare compares two values of a type.
func compare(a, b any) int {
	rat := func(v any) *big.Rat {
		if n, ok := v.(int64); ok {
			return new(big.Rat).SetInt64(n)
		}
		return new(big.Rat).SetFloat64(v.(float64))
	}
	if text, ok := a.(string); ok {
		return strings.Compare(text, b.(string))
	}
	return rat(a).Cmp(rat(b))
}

type row map[string]any // nil: null

// condition is a predicate with its result for a row.
type condition struct {
	json node
	sql  string // "": it has no form in SQL
	eval func(row) outcomes
}

func result(isTrue bool) outcomes {
	if isTrue {
		return canBeTrue
	}
	return canBeFalse
}

var leaf = rapid.Custom(func(t *rapid.T) condition {
	column := rapid.SampledFrom(calls.Columns).Draw(t, "column")
	of := kinds[column.Type]
	operand := node{Op: "column", Name: strings.ToUpper(column.Name), ValueType: of.valueType}
	name := rapid.SampledFrom([]string{"isNull", "equal", "lessThan", "lessThanOrEqual", "greaterThan",
		"greaterThanOrEqual"}).Draw(t, "op")
	if name == "isNull" {
		return condition{node{Op: name, Children: []node{operand}}, column.Name + " is NULL",
			func(r row) outcomes { return result(r[column.Name] == nil) }}
	}
	value := of.draw.Draw(t, "literal")
	op, left := comparisons[name], rapid.Bool().Draw(t, "literal on the left")
	constant := node{Op: "literal", Value: of.json(value), ValueType: of.valueType}
	c := condition{node{Op: name, Children: []node{operand, constant}},
		fmt.Sprintf("`%s`%s%s", column.Name, op, of.sql(value)), func(r row) outcomes {
			if r[column.Name] == nil {
				return canBeNull
			}
			order := compare(r[column.Name], value)
			if left {
				order = -order
			}
			switch name {
			case "equal":
				return result(order == 0)
			case "lessThan":
				return result(order < 0)
			case "lessThanOrEqual":
				return result(order <= 0)
			case "greaterThan":
				return result(order > 0)
			}
			return result(order >= 0)
		}}
	if left {
		c.json.Children = []node{constant, operand}
		c.sql = fmt.Sprintf(" %s %s %s ", of.sql(value), op, column.Name)
	}
	return c
})

// tree draws a predicate with and, or and not.
func tree(t *rapid.T, depth int) condition {
	op := rapid.SampledFrom([]string{"leaf", "and", "or", "not"}).Draw(t, "node")
	if op == "leaf" || depth == 0 {
		return leaf.Draw(t, "leaf")
	}
	children := []condition{tree(t, depth-1)}
	if op != "not" {
		children = append(children, tree(t, depth-1))
	}
	c := condition{json: node{Op: op}}
	for _, child := range children {
		c.json.Children = append(c.json.Children, child.json)
	}
	c.eval = func(r row) outcomes {
		first := children[0].eval(r)
		if op == "not" {
			return map[outcomes]outcomes{canBeTrue: canBeFalse, canBeFalse: canBeTrue, canBeNull: canBeNull}[first]
		}
		decisive := map[string]outcomes{"and": canBeFalse, "or": canBeTrue}[op]
		switch second := children[1].eval(r); {
		case first == decisive || second == decisive:
			return decisive
		case first == canBeNull || second == canBeNull:
			return canBeNull
		}
		return first
	}
	return c
}

// rangesOfRows returns the ranges of a file with the rows.
func rangesOfRows(rows []row) map[string]columnRange {
	ranges := map[string]columnRange{}
	for _, column := range calls.Columns {
		r := columnRange{Column: column, values: int64(len(rows))}
		for _, row := range rows {
			value := row[column.Name]
			if value == nil {
				r.nulls++
				continue
			}
			if r.lower == nil || compare(value, r.lower) < 0 {
				r.lower = value
			}
			if r.upper == nil || compare(value, r.upper) > 0 {
				r.upper = value
			}
		}
		ranges[column.Name] = r
	}
	return ranges
}

// The outcomes of a predicate for a file contain its results for all rows, whatever is known of the file.
func TestHints_OutcomesContainTheResultsOfAllRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows []row
		for range rapid.IntRange(0, 3).Draw(t, "rows") {
			r := row{}
			for _, column := range calls.Columns {
				if rapid.IntRange(0, 4).Draw(t, "not null") > 0 {
					r[column.Name] = kinds[column.Type].draw.Draw(t, column.Name)
				}
			}
			rows = append(rows, r)
		}
		ranges := rangesOfRows(rows)
		for name, r := range ranges { // bounds and counts may be missing
			if rapid.IntRange(0, 5).Draw(t, "known") == 0 {
				r.upper, r.nulls = nil, -1
				ranges[name] = r
			}
		}
		c := tree(t, 3)
		text, err := json.Marshal(c.json)
		if err != nil {
			t.Fatal(err)
		}
		parsed := map[string]predicate{}
		var ok bool
		if parsed[string(text)], ok = parseJSON(string(text), calls); !ok {
			t.Fatalf("%s: got no predicate", text)
		}
		if c.sql != "" {
			if parsed[c.sql], ok = parseSQL(c.sql, calls); !ok {
				t.Fatalf("%s: got no predicate", c.sql)
			}
		}
		for text, predicate := range parsed {
			got := predicate(ranges)
			for _, r := range rows {
				if want := c.eval(r); got&want == 0 {
					t.Fatalf("%s: got outcomes %03b for %v, want %03b", text, got, r, want)
				}
			}
		}
	})
}

func TestHints_LeaveOutFiles(t *testing.T) {
	micros := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	march := rangesOfRows([]row{
		{"seconds": int64(10), "chars": int64(1 << 40), "cost": 0.5, "status": "busy", "day": int64(20513),
			"created_at": micros},
		{"seconds": int64(20), "chars": int64(1 << 41), "cost": 1.5, "status": "failed", "day": int64(20543),
			"created_at": micros + 31*86400e6 - 1},
	})
	leaf := func(op, column, value, types string) string {
		left, right, _ := strings.Cut(types, "/")
		if right == "" {
			right = left
		}
		return fmt.Sprintf(`{"op":%q,"children":[{"op":"column","name":%q,"valueType":%q},{"op":"literal","value":%s,"valueType":%q}]}`, op, column, left, value, right)
	}
	for text, kept := range map[string]bool{
		`created_at >= '2026-04-01T00:00:00Z'`:      false,
		`created_at >= '2026-03-31T23:59:59Z'`:      true,
		`created_at < '2026-03-01T00:00:00Z'`:       false,
		`created_at <= '2026-03-01T00:00:00+00:00'`: true,
		`created_at >= '2026-04-01T02:00:00+02:00'`: false,
		`created_at >= '2026-04-01'`:                true, // in the time zone of the client
		`created_at >= '2026-04-01 14:00:00'`:       false,
		`created_at >= TIMESTAMP '2026-05-01'`:      false,
		`created_at > 5`:                            true,
		`day = '2026-02-28'`:                        false,
		`day = DATE '2026-03-01'`:                   true,
		`day = TIMESTAMP '2026-02-28'`:              true,
		`'2026-04-01' <= day`:                       false,
		`seconds = 9`:                               false,
		`seconds = 9.5`:                             false,
		`seconds > 20`:                              false,
		`20 < seconds`:                              false,
		`SECONDS >= 2e1`:                            true,
		`seconds > 2e1`:                             true, // compared in floating point
		`seconds = '9'`:                             true, // dialects differ
		`seconds <> 9`:                              true,
		`seconds IS NULL`:                           false,
		`seconds IS NOT NULL`:                       true,
		`minutes IS NOT NULL`:                       false,
		`minutes = 1`:                               false, // all are null
		`cost > 1.6`:                                false,
		`cost = -1`:                                 false,
		`status = 'answered'`:                       false,
		`status = "answered"`:                       true,
		`status = 'a\'b'`:                           true,
		`status = 'a''b'`:                           true,
		`status = 5`:                                true,
		`nothing = 5`:                               true,
		`seconds = 9 AND seconds = 10`:              true,
		``:                                          true,

		leaf("greaterThan", "created_at", `"2026-04-01T00:00:00Z"`, "timestamp"):   false,
		leaf("greaterThan", "created_at", `"2026-04-01"`, "date"):                  true,
		leaf("lessThan", "day", `"2026-03-01"`, "date"):                            false,
		leaf("equal", "seconds", `"9"`, "int"):                                     false,
		leaf("equal", "seconds", `9`, "long"):                                      false,
		leaf("equal", "seconds", `"9"`, "string"):                                  true, // texts have another order
		leaf("equal", "seconds", `"9"`, "int/long"):                                true,
		leaf("equal", "seconds", `"9"`, "float"):                                   true,
		leaf("equal", "seconds", `"x"`, "int"):                                     true,
		leaf("equal", "seconds", `null`, "int"):                                    true,
		leaf("equal", "chars", `"9"`, "long"):                                      false,
		leaf("equal", "chars", `"9"`, "int"):                                       true, // the values do not fit
		leaf("greaterThan", "cost", `"1.6"`, "double"):                             false,
		leaf("greaterThan", "cost", `"1.6"`, "decimal(10,4)"):                      false,
		leaf("equal", "is_bot", `"true"`, "bool"):                                  false, // all are null
		leaf("equal", "nothing", `"9"`, "int"):                                     true,
		leaf("in", "seconds", `"9"`, "int"):                                        true,
		`{"op":"and","children":[` + leaf("equal", "seconds", `"9"`, "int") + `]}`: true,
		`{"op":"and","children":[` + leaf("equal", "seconds", `"9"`, "int") + `,` + leaf("equal", "nothing", `"9"`, "int") +
			`]}`: true,
		`{"op":"and","children":[` + leaf("equal", "seconds", `"9"`, "int") + `,` + leaf("equal", "seconds", `"9"`, "float") +
			`]}`: false,
		`{"op":"or","children":[` + leaf("equal", "seconds", `"9"`, "int") + `,` + leaf("equal", "seconds", `"10"`, "int") +
			`]}`: true,
		`{"op":"not","children":[` + leaf("greaterThan", "seconds", `"9"`, "int") + `]}`: false,
		leaf("equal", "seconds", `"9"`, "int") + `}`:                                     true,
	} {
		hints := Hints{SQL: []string{text}}
		if strings.HasPrefix(text, "{") {
			hints = Hints{JSON: text}
		}
		if got := hints.predicate(calls)(march)&canBeTrue != 0; got != kept {
			t.Errorf("%s: file is kept: got %t, want %t", text, got, kept)
		}
	}
}
