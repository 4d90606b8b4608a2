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

// Relations is the script that makes, in an empty DuckDB, a view for each export, described as Exports describe it. What a view reads is
// a text in a variable of the connection, and of no rows until FillRelations says more, so that all of it can be made before it is known of whom.
func CreateQueryViews() string {
	var script strings.Builder
	for _, export := range Exports {
		columns := make([]string, len(export.Columns))
		for i, c := range export.Columns {
			columns[i] = "NULL::" + c.Type + " AS " + statements.Ident(c.Name)
		}
		name := statements.Ident(export.Name)
		script.WriteString(setSource(export, statements.Fill("query/no_rows", "columns", strings.Join(columns, ", "))))
		script.WriteString(statements.Fill("query/view", "export", name, "source", statements.Text(sourceVariable(export))))
		script.WriteString(statements.Fill("query/comment", "export", name, "text", statements.Text(export.Description)))
		for _, c := range export.Columns {
			script.WriteString(statements.Fill("query/comment_column", "export", name, "column", statements.Ident(c.Name), "text", statements.Text(c.Comment())))
		}
	}
	return script.String()
}

// FillRelations is the script that has the views read files, whose paths are given by the name of the export; one that has none stays empty.
func BindQueryViews(files map[string][]string) string {
	var script strings.Builder
	for _, export := range Exports {
		paths := files[export.Name]
		if len(paths) == 0 {
			continue
		}
		columns := make([]string, len(export.Columns))
		for i, c := range export.Columns {
			columns[i] = statements.Ident(c.Name)
		}
		script.WriteString(setSource(export, statements.Fill("query/rows", "columns", strings.Join(columns, ", "), "files", statements.Texts(paths...))))
	}
	return script.String()
}

// source sets what the view of an export reads.
func setSource(export Export, statement string) string {
	return statements.Fill("query/source", "source", statements.Ident(sourceVariable(export)), "text", statements.Text(statement))
}

func sourceVariable(export Export) string { return "rows of " + export.Name }

// LockRelations is the script that ends what may be set, and leaves the files alone to be read.
func LockQueryViews(files map[string][]string) string {
	var all []string
	for _, paths := range files {
		all = append(all, paths...)
	}
	slices.Sort(all)
	return statements.Fill("query/lock", "files", statements.Texts(all...))
}
