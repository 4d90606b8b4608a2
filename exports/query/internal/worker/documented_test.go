package worker

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/parquet-go/parquet-go"

	"github.com/voicory/warehouse/exports/query/internal/protocol"
	"github.com/voicory/warehouse/exports/query/internal/querytest"
)

// documentedValues has a value of each type, in the order of the table in docs/sql.md.
var documentedValues = []string{
	"true", "1::TINYINT", "1::SMALLINT", "1::INTEGER", "9223372036854775807::BIGINT", "1::UTINYINT", "1::USMALLINT",
	"1::UINTEGER", "1::UBIGINT", "1::HUGEINT", "1::UHUGEINT", "repeat('9', 20)::BIGNUM", "1.5::FLOAT", "'nan'::DOUBLE",
	"1.50::DECIMAL(9, 2)", "1.5000::DECIMAL(18, 4)", "1.5000::DECIMAL(38, 4)", "'text'", "'a'::ENUM('a')", "uuid_value",
	"'text'::BLOB", "'0101'::BIT", "DATE '2026-01-31'", "TIME '10:00:00.5'", "TIME_NS '10:00:00.123456789'",
	"'10:00:00+05:30'::TIMETZ", "TIMESTAMP '2026-01-31 10:00:00'", "'2026-01-31 10:00:00'::TIMESTAMP_S",
	"'2026-01-31 10:00:00'::TIMESTAMP_MS", "'2026-01-31 10:00:00'::TIMESTAMP_NS", "TIMESTAMPTZ '2026-01-31 10:00:00Z'",
	"INTERVAL '1 day 02:00:00'", `'{"a": 1}'::JSON`, "[1, 2]", "[1, 2]::INTEGER[2]", "{'a': 1}", "MAP {'k': 1}",
	"MAP {1: 2}", "union_value(a := 1)",
}

// documentedRow returns the row of the table for a value.
func documentedRow(t *testing.T, value string) (typ, row string) {
	t.Helper()
	value = strings.Replace(value, "uuid_value", "'00000000-0000-4000-8000-000000000007'::UUID", 1)
	results := map[string]string{}
	for _, format := range []string{protocol.JSON, protocol.Arrow, protocol.Parquet} {
		text, _, err := runInProcess(t, protocol.Task{
			SQL: "SELECT " + value + " AS x", Format: format, Limit: maxRows, MaxBytes: maxBytes,
		})
		querytest.NoError(t, err)
		results[format] = text
	}
	var result struct {
		Columns []struct{ Type string }
		Rows    [][]json.RawMessage
	}
	querytest.NoError(t, json.Unmarshal([]byte(results[protocol.JSON]), &result))
	reader, err := ipc.NewReader(strings.NewReader(results[protocol.Arrow]))
	querytest.NoError(t, err)
	defer reader.Release()
	inArrow := reader.Schema().Field(0).Type.String()
	if _, nested := reader.Schema().Field(0).Type.(arrow.NestedType); nested {
		inArrow = reader.Schema().Field(0).Type.Name()
	}
	file, err := parquet.OpenFile(strings.NewReader(results[protocol.Parquet]), int64(len(results[protocol.Parquet])))
	querytest.NoError(t, err)
	line := strings.Split(file.Schema().String(), "\n")[1] // for example optional int32 x (DATE);
	inParquet := strings.TrimRight(strings.Replace(strings.TrimPrefix(line, "\toptional "), " x", "", 1), " {;")
	typ = result.Columns[0].Type
	return typ, fmt.Sprintf("| `%s` | `%s` | `%s` | `%s` |", typ, result.Rows[0][0], inArrow, inParquet)
}

// docs/sql.md has a table of the forms of each type that a result can have.
func TestTypes_AreDocumented(t *testing.T) {
	const heading = "| type | JSON, NDJSON | Arrow | Parquet |\n| --- | --- | --- | --- |\n"
	documented := map[string]bool{}
	table := heading
	for _, value := range documentedValues {
		typ, row := documentedRow(t, value)
		name, _, _ := strings.Cut(typ, "(")
		switch {
		case strings.HasSuffix(typ, "[]"):
			name = "LIST"
		case strings.HasSuffix(typ, "]"):
			name = "ARRAY"
		}
		documented[name] = true
		table += row + "\n"
	}
	for _, name := range typeNames {
		if !documented[name] && name != `"NULL"` { // an untyped NULL is an INTEGER
			t.Errorf("the type %s has no documented value", name)
		}
	}
	text, err := os.ReadFile("../../../../docs/sql.md")
	querytest.NoError(t, err)
	if !strings.Contains(string(text), table) {
		t.Errorf("docs/sql.md does not have the table\n%s", table)
	}
}
