package exports

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// readme says what is in the folder, in Markdown: how to read it, every file, and every column.
func (f Folder) readme() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Calls, customers and messages\n\nAll rows of one moment: every change before %s (UTC) is in them. They are here twice: in `%s` as tables, and as Parquet.\nBoth hold the same rows. Times are in UTC.\n\n",
		f.AsOf.UTC().Format(time.RFC3339Nano), DatabaseFile)
	fmt.Fprintf(&b, "`%s` is a DuckDB file of the storage version that DuckDB 1.0 and later read: `duckdb %s`. Its comments say what stands\nbelow of the columns: `FROM duckdb_columns()`.\n", DatabaseFile, DatabaseFile)
	b.WriteString("\n## Files\n\n| File | Rows | Bytes |\n| --- | ---: | ---: |\n")
	for _, file := range f.Files {
		fmt.Fprintf(&b, "| `%s` | %d | %d |\n", file.Path, file.Rows, file.Bytes)
	}
	for _, export := range warehouse.Exports {
		f.describe(&b, export)
	}
	return b.Bytes()
}

// describe is the part on one export.
func (f Folder) describe(b *bytes.Buffer, export warehouse.Export) {
	fmt.Fprintf(b, "\n## %s\n\n%s %d rows.\n", export.Name, export.Description, f.Rows[export.Name])
	if f.Rows[export.Name] == 0 {
		b.WriteString("There is no Parquet of it.\n")
	} else {
		pattern := export.Name + "/" + export.Name + ".parquet"
		if export.Source.Monthly {
			pattern = export.Name + "/*/" + export.Name + ".parquet"
			b.WriteString("One file for each month (UTC); `month` is in the path.\n")
		}
		fmt.Fprintf(b, "\n```sql\nSELECT count(*) FROM read_parquet('%s'); -- in DuckDB, from this folder\n```\n\n```python\nimport pandas; rows = pandas.read_parquet(\"%s\")\n```\n", pattern, export.Name)
	}
	b.WriteString("\n| Column | Type | Meaning | Unit | NULL |\n| --- | --- | --- | --- | --- |\n")
	for _, c := range export.Columns {
		unit := c.Unit
		if c.TimeZone != "" {
			unit = c.TimeZone
		}
		null := c.Null
		if !c.Nullable() {
			null = "never"
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s | %s | %s |\n", c.Name, c.Type, inCell(c.Description), inCell(unit), inCell(null))
	}
}

// inCell keeps a text within its cell.
func inCell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
