package exports

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse/schema"
)

// readme returns the bundle's README in Markdown: how to read the bundle, every file, and every column.
func (b Bundle) readme() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Calls, customers and messages\n\n"+
		"This folder is a snapshot: it contains every change before %s (UTC).\n"+
		"It holds all rows twice, as the tables of `%s` and as Parquet. Times are in UTC.\n\n",
		b.AsOf.UTC().Format(time.RFC3339Nano), DatabaseFile)
	fmt.Fprintf(&out, "DuckDB 1.0 and later can open the database: `duckdb %s`. The descriptions of the columns below\n"+
		"are also comments in the database: `FROM duckdb_columns()`.\n", DatabaseFile)
	out.WriteString("\n## Files\n\n| File | Rows | Bytes |\n| --- | ---: | ---: |\n")
	for _, file := range b.Files {
		fmt.Fprintf(&out, "| `%s` | %d | %d |\n", file.Path, file.Rows, file.Bytes)
	}
	for _, export := range schema.Exports {
		b.describeExport(&out, export)
	}
	return out.Bytes()
}

// describeExport writes the README's section on one export.
func (b Bundle) describeExport(out *bytes.Buffer, export schema.Export) {
	fmt.Fprintf(out, "\n## %s\n\n%s %d rows.\n", export.Name, export.Description, b.Rows[export.Name])
	if b.Rows[export.Name] == 0 {
		out.WriteString("It has no Parquet files.\n")
	} else {
		pattern := export.Name + "/" + export.Name + ".parquet"
		if export.Source.Monthly {
			pattern = export.Name + "/*/" + export.Name + ".parquet"
			out.WriteString("It has one file per month (UTC); `month` is in the path.\n")
		}
		fmt.Fprintf(out, "\n```sql\nSELECT count(*) FROM read_parquet('%s'); -- in DuckDB, from this folder\n```\n\n"+
			"```python\nimport pandas; rows = pandas.read_parquet(\"%s\")\n```\n", pattern, export.Name)
	}
	out.WriteString("\n| Column | Type | Meaning | Unit | NULL |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range export.Columns {
		unit := c.Unit
		if c.TimeZone != "" {
			unit = c.TimeZone
		}
		null := c.Null
		if !c.Nullable() {
			null = "never"
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s | %s | %s |\n",
			c.Name, c.Type, escapeCell(c.Description), escapeCell(unit), escapeCell(null))
	}
}

// escapeCell escapes a text for a cell of a Markdown table.
func escapeCell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
