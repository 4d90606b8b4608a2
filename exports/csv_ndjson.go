package exports

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/csv"
	"fmt"
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// timeFormat is the strftime format of times, the same as in the API's JSON.
const timeFormat = "%Y-%m-%dT%H:%M:%S.%gZ"

// copyLine holds the COPY options that write the single column "line" unquoted, one value per line. DuckDB's own JSON
// format writes the same bytes, but first searches every value for characters to quote, a fifth of the total time.
const copyLine = "FORMAT csv, HEADER false, DELIMITER '', QUOTE '', ESCAPE '', FORCE_QUOTE (line)"

// A typedColumn is a column of a statement with its DuckDB type name.
type typedColumn struct{ name, kind string }

// describe returns the columns of a statement.
func describe(ctx context.Context, conn *sql.Conn, statement string) (columns []typedColumn, err error) {
	rows, err := conn.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE "+statement+")")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var column typedColumn
		if err := rows.Scan(&column.name, &column.kind); err != nil {
			return nil, err
		}
		columns = append(columns, column)
	}
	return columns, rows.Err()
}

// expression returns the SQL expression of the column's value, with times as text. A TIMESTAMP WITH TIME ZONE is
// formatted as a plain TIMESTAMP in UTC, because the conversion with a calendar would add a tenth to the total time.
func (c typedColumn) expression() string {
	name := statements.Ident(c.name)
	switch c.kind {
	case "TIMESTAMP WITH TIME ZONE":
		return "strftime(make_timestamp(epoch_us(" + name + ")), '" + timeFormat + "')"
	case "TIMESTAMP":
		return "strftime(" + name + ", '" + timeFormat + "')"
	}
	return name
}

// ndjsonLines returns a statement that selects each row as a JSON object, in the column "line". It escapes the
// characters at which some readers of NDJSON end a line: U+0085, U+2028 and U+2029. They occur only in strings of the
// object.
func ndjsonLines(columns []typedColumn, statement string) string {
	members := make([]string, len(columns))
	for i, c := range columns {
		members[i] = statements.Ident(c.name) + " := " + c.expression()
	}
	escaped := "line"
	for _, code := range []int{0x85, 0x2028, 0x2029} {
		escaped = fmt.Sprintf(`replace(%s, chr(%d), '\u%04x')`, escaped, code, code)
	}
	// Most lines have none of them. They are not copied, which would take three times their memory.
	return `SELECT CASE WHEN regexp_matches(line, '[\x{85}\x{2028}\x{2029}]') THEN ` + escaped +
		" ELSE line END AS line FROM (SELECT to_json(struct_pack(" + strings.Join(members, ", ") +
		"))::VARCHAR AS line FROM (" + statement + "))"
}

// formula matches a text that a spreadsheet may take for a formula. Such a text begins with one of = + - @, with a
// character whose compatibility form (NFKC) is one of them, or with the minus sign. Blanks, control characters and
// invisible characters before it are skipped, because spreadsheets drop some of them. A text that begins with a tab, a
// carriage return or a line feed always matches: pasted into cells, the text after that character gets a cell of its
// own.
const formula = `^(?:[\t\r\n]|[\s\p{Z}\p{Cc}\p{Cf}]*[=+\-@` +
	`\x{FF1D}\x{FE66}\x{207C}\x{208C}` + // =
	`\x{FF0B}\x{FE62}\x{207A}\x{208A}\x{FB29}` + // +
	`\x{FF0D}\x{FE63}\x{207B}\x{208B}\x{2212}` + // -
	`\x{FF20}\x{FE6B}])` // @

// csvLines returns a statement that selects each row as a line of CSV, in the column "line". Nested values are written
// as JSON. Formulas are escaped if the options require it.
func csvLines(columns []typedColumn, statement string, options CSVOptions) string {
	fields := make([]string, len(columns))
	for i, c := range columns {
		value := c.expression()
		switch {
		case c.isNested():
			value = "csv_field(to_json(" + value + ")::VARCHAR)"
		case options.EscapeFormulas && !c.isUnquoted():
			value = fmt.Sprintf("csv_field(CASE WHEN regexp_matches(%s, %s) THEN '''' || %[1]s ELSE %[1]s END)",
				value+"::VARCHAR", statements.Text(formula))
		case !c.isUnquoted():
			value = "csv_field(" + value + "::VARCHAR)"
		}
		fields[i] = value
	}
	return "SELECT concat(" + strings.Join(fields, ", ',', ") + ") AS line FROM (" + statement + ")"
}

// isNested reports whether the column holds lists, structs or maps.
func (c typedColumn) isNested() bool {
	return strings.HasSuffix(c.kind, "]") || strings.HasPrefix(c.kind, "STRUCT(") || strings.HasPrefix(c.kind, "MAP(")
}

// unquotedTypes are the types whose values never need quotes in CSV.
var unquotedTypes = []string{
	"BOOLEAN", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "DOUBLE", "UUID", "DATE", "TIMESTAMP",
	"TIMESTAMP WITH TIME ZONE",
}

// isUnquoted reports whether the column's values never need quotes in CSV.
func (c typedColumn) isUnquoted() bool {
	kind, _, _ := strings.Cut(c.kind, "(")
	return slices.Contains(unquotedTypes, kind)
}

// csvHeader returns the first line of CSV: the column names.
func csvHeader(columns []typedColumn, options CSVOptions) []byte {
	var line bytes.Buffer
	if options.BOM {
		line.WriteString("\ufeff")
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	w := csv.NewWriter(&line)
	_ = w.Write(names) // a write to a bytes.Buffer cannot fail
	w.Flush()
	return line.Bytes()
}
