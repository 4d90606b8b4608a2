package schema

import (
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// CreateQueryViews returns a script that creates a view with comments for each export in an empty DuckDB. Each view
// runs a query that is stored in a variable of the connection. The query selects no rows until BindQueryViews changes
// it, so a worker can create the views before it knows the tenant.
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
			script.WriteString(statements.Fill("query/comment_column", "export", name,
				"column", statements.Ident(c.Name), "text", statements.Text(c.Comment())))
		}
	}
	return script.String()
}

// BindQueryViews returns a script that makes the views select the rows of files. files holds their paths by the name
// of the export. A view without files stays empty.
func BindQueryViews(files map[string][]string) string {
	var script strings.Builder
	for _, export := range Exports {
		paths := files[export.Name]
		if len(paths) == 0 {
			continue
		}
		script.WriteString(setSource(export, statements.Fill("query/rows",
			"columns", selectColumns(export.Columns), "files", statements.Texts(paths...))))
	}
	return script.String()
}

// setSource returns a statement that stores the query of an export's view in its variable.
func setSource(export Export, statement string) string {
	return statements.Fill("query/source",
		"source", statements.Ident(sourceVariable(export)), "text", statements.Text(statement))
}

// sourceVariable returns the name of the variable that holds the query of an export's view.
func sourceVariable(export Export) string { return "rows of " + export.Name }

// LockQueryViews returns a script that locks the configuration and restricts file access to the given files.
func LockQueryViews(files map[string][]string) string {
	var all []string
	for _, paths := range files {
		all = append(all, paths...)
	}
	slices.Sort(all)
	return statements.Fill("query/lock", "files", statements.Texts(all...))
}
