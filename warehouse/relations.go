package warehouse

import (
	"slices"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// PublishedDirs are the folders in which a tenant's published files lie by their names; a file goes from the first to the second when
// it is replaced.
func (w *Warehouse) PublishedDirs(tenant uuid.UUID) []string {
	return []string{w.filesPath(tenant), w.replacedPath(tenant)}
}

// Relations is the script that makes, in an empty DuckDB, a view for each export over its files, described as Exports describe it. An
// export that has none is an empty view of the same types. files are the paths by the name of the export.
func Relations(files map[string][]string) string {
	var script strings.Builder
	for _, export := range Exports {
		columns := make([]string, len(export.Columns))
		name, paths := statements.Ident(export.Name), files[export.Name]
		for i, c := range export.Columns {
			if columns[i] = statements.Ident(c.Name); len(paths) == 0 {
				columns[i] = "NULL::" + c.Type + " AS " + columns[i]
			}
		}
		list := strings.Join(columns, ", ")
		if len(paths) > 0 {
			script.WriteString(statements.Fill("query/view", "export", name, "columns", list, "files", statements.Texts(paths...)))
		} else {
			script.WriteString(statements.Fill("query/empty_view", "export", name, "columns", list))
		}
		script.WriteString(statements.Fill("query/comment", "export", name, "text", statements.Text(export.Description)))
		for _, c := range export.Columns {
			script.WriteString(statements.Fill("query/comment_column", "export", name, "column", statements.Ident(c.Name), "text", statements.Text(c.Comment())))
		}
	}
	return script.String()
}

// LockRelations is the script that ends what may be set, and leaves the files alone to be read.
func LockRelations(files map[string][]string) string {
	var all []string
	for _, paths := range files {
		all = append(all, paths...)
	}
	slices.Sort(all)
	return statements.Fill("query/lock", "files", statements.Texts(all...))
}
