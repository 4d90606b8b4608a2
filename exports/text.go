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

// times are as the API shows them.
const times = "%Y-%m-%dT%H:%M:%S.%gZ"

// asIs writes the one column line as it is, a text a line. It is how DuckDB writes JSON lines, too, but that looks in each for what needs quotes, and
// finds them not to be written: a fifth of all the time.
const asIs = "FORMAT csv, HEADER false, DELIMITER '', QUOTE '', ESCAPE '', FORCE_QUOTE (line)"

// typedColumn is a column of a statement, and its type as DuckDB names it.
type typedColumn struct{ name, kind string }

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

// text is what is written of the column, of a type that every format shows alike. A moment is taken for one without a zone: to write it with
// a calendar costs a tenth of all the rest.
func (c typedColumn) text() string {
	name := statements.Ident(c.name)
	switch c.kind {
	case "TIMESTAMP WITH TIME ZONE":
		return "strftime(make_timestamp(epoch_us(" + name + ")), '" + times + "')"
	case "TIMESTAMP":
		return "strftime(" + name + ", '" + times + "')"
	}
	return name
}

// asObjects makes each row a JSON object, the column line.
func asObjects(columns []typedColumn, statement string) string {
	members := make([]string, len(columns))
	for i, c := range columns {
		members[i] = statements.Ident(c.name) + " := " + c.text()
	}
	return "SELECT to_json(struct_pack(" + strings.Join(members, ", ") + "))::VARCHAR AS line FROM (" + statement + ")"
}

// formula matches a text that a spreadsheet may take for a formula. Such a text begins with one of = + - @, with a character whose
// compatibility form (NFKC) is one of them, or with the minus sign. Blanks, control characters and invisible characters before it do
// not count, because spreadsheets drop some of them. A text that begins with a tab, a carriage return or a line feed matches,
// whatever follows: pasted into cells, the rest stands alone.
const formula = `^(?:[\t\r\n]|[\s\p{Z}\p{Cc}\p{Cf}]*[=+\-@` +
	`\x{FF1D}\x{FE66}\x{207C}\x{208C}` + // =
	`\x{FF0B}\x{FE62}\x{207A}\x{208A}\x{FB29}` + // +
	`\x{FF0D}\x{FE63}\x{207B}\x{208B}\x{2212}` + // -
	`\x{FF20}\x{FE6B}])` // @

// asFields makes each row a line of CSV, the column line. Nested values are JSON, and formulas escaped where that is asked for.
func asFields(columns []typedColumn, statement string, options CSVOptions) string {
	fields := make([]string, len(columns))
	for i, c := range columns {
		text := c.text()
		switch {
		case c.isNested():
			text = "csv_field(to_json(" + text + ")::VARCHAR)"
		case options.EscapeFormulas && !c.isPlain():
			text = fmt.Sprintf("csv_field(CASE WHEN regexp_matches(%s, %s) THEN '''' || %[1]s ELSE %[1]s END)", text+"::VARCHAR", statements.Text(formula))
		case !c.isPlain():
			text = "csv_field(" + text + "::VARCHAR)"
		}
		fields[i] = text
	}
	return "SELECT concat(" + strings.Join(fields, ", ',', ") + ") AS line FROM (" + statement + ")"
}

func (c typedColumn) isNested() bool {
	return strings.HasSuffix(c.kind, "]") || strings.HasPrefix(c.kind, "STRUCT(") || strings.HasPrefix(c.kind, "MAP(")
}

// isPlain tells whether nothing in the column's texts ever needs quotes.
func (c typedColumn) isPlain() bool {
	kind, _, _ := strings.Cut(c.kind, "(")
	return slices.Contains([]string{"BOOLEAN", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "DOUBLE", "UUID", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}, kind)
}

// header is the first line of CSV.
func header(columns []typedColumn, options CSVOptions) []byte {
	var line bytes.Buffer
	if options.BOM {
		line.WriteString("\ufeff")
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	w := csv.NewWriter(&line)
	_ = w.Write(names) // a buffer takes all
	w.Flush()
	return line.Bytes()
}
