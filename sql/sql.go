package sql

import (
	"embed"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

//go:embed */*.sql */*/*.sql lake/exports.json
var files embed.FS

// Get returns the statement in the file name (its path below this folder without ".sql").
// An unknown name is a mistake of the programmer and panics.
func Get(name string) string {
	text, err := files.ReadFile(name + ".sql")
	if err != nil {
		panic("sql: no statement " + name)
	}
	return string(text)
}

// Exports returns the description of what is published, as JSON: a list of {name, description, columns: [{name, type, description,
// unit, time_zone, null}]}, in which type is DuckDB's and null says what a NULL means; without it there are none.
func Exports() []byte {
	text, err := files.ReadFile("lake/exports.json")
	if err != nil {
		panic(err) // it is embedded
	}
	return text
}

// For returns the statement name with {{dataset}} replaced by the quoted table of dataset, and {{dataset_name}} by its
// name as a text.
func For(name, dataset string) string {
	return Fill(name, "dataset", Ident(dataset), "dataset_name", Text(dataset))
}

// Fill returns the statement name with its slots filled: pairs are a slot's name and its text, which must be SQL already.
func Fill(name string, pairs ...string) string {
	slots := make([]string, len(pairs))
	for i, text := range pairs {
		if i%2 == 0 {
			text = "{{" + text + "}}"
		}
		slots[i] = text
	}
	return strings.NewReplacer(slots...).Replace(Get(name))
}

// Page returns the statement pages/name for dataset, with the dataset's own parts (its WHERE clause and the
// JSON object of an item and of a detail) in their places.
func Page(name, dataset string) string {
	part := func(kind string) string { return strings.TrimSpace(Get("pages/" + dataset + "_" + kind)) }
	text := For("pages/"+name, dataset)
	for _, kind := range []string{"detail", "item", "where"} { // a detail holds an item
		if slot := "{{" + kind + "}}"; strings.Contains(text, slot) {
			text = strings.ReplaceAll(text, slot, part(kind))
		}
	}
	return text
}

// Ident quotes an identifier: a table, a column or the name of an attached database.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Text quotes a string literal, for the places where DuckDB takes no parameter (ATTACH, COPY … TO, SET).
func Text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Texts is a list of string literals.
func Texts(texts ...string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Text(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]::VARCHAR[]"
}

// Struct is a struct of string literals, such as the metadata of a Parquet file.
func Struct(texts map[string]string) string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		fields = append(fields, Text(name)+": "+Text(texts[name]))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// Migrations returns the scripts that bring a database of the kind store ("control" or "tenant")
// from empty to current, in order. A script is never changed once released; a new one is added.
func Migrations(store string) []string {
	names, err := fs.Glob(files, path.Join("migrations", store, "*.sql")) // Glob sorts
	if err != nil || len(names) == 0 {
		panic("sql: no migrations for " + store)
	}
	scripts := make([]string, len(names))
	for i, name := range names {
		scripts[i] = Get(strings.TrimSuffix(name, ".sql"))
	}
	return scripts
}
