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

// Get returns the text of the statement with the given name, which is its path below this folder without ".sql". It
// panics if the name is unknown.
func Get(name string) string {
	text, err := files.ReadFile(name + ".sql")
	if err != nil {
		panic("sql: no statement " + name)
	}
	return string(text)
}

// Exports returns the description of the published exports as JSON: a list of {name, description, columns: [{name,
// field_id, members, type, description, unit, time_zone, null}]}. type is a DuckDB type. null describes the meaning of
// NULL; columns without it are never NULL.
func Exports() []byte {
	text, err := files.ReadFile("lake/exports.json")
	if err != nil {
		panic(err) // it is embedded
	}
	return text
}

// For returns the named statement with {{dataset}} replaced by the quoted table of dataset, and {{dataset_name}} by its
// name as a string literal.
func For(name, dataset string) string {
	return Fill(name, "dataset", Ident(dataset), "dataset_name", Text(dataset))
}

// Fill returns the named statement with its slots replaced. pairs are the names of slots and their texts. The texts
// must be SQL; Fill does not quote them.
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

// Page returns the statement pages/name for dataset, with the dataset's WHERE clause and the JSON objects of an item
// and of a detail in their slots.
func Page(name, dataset string) string {
	part := func(kind string) string { return strings.TrimSpace(Get("pages/" + dataset + "_" + kind)) }
	text := For("pages/"+name, dataset)
	for _, kind := range []string{"detail", "item", "where"} { // a detail contains an item
		if slot := "{{" + kind + "}}"; strings.Contains(text, slot) {
			text = strings.ReplaceAll(text, slot, part(kind))
		}
	}
	return text
}

// Ident returns a quoted identifier: a table, a column or the name of an attached database.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// Text returns a string literal, for statements that accept no parameters (ATTACH, COPY … TO, SET).
func Text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Texts returns a list of string literals.
func Texts(texts ...string) string {
	quoted := make([]string, len(texts))
	for i, text := range texts {
		quoted[i] = Text(text)
	}
	return "[" + strings.Join(quoted, ", ") + "]::VARCHAR[]"
}

// Struct returns a struct of string literals, such as the metadata of a Parquet file.
func Struct(texts map[string]string) string {
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		fields = append(fields, Text(name)+": "+Text(texts[name]))
	}
	return "{" + strings.Join(fields, ", ") + "}"
}

// Migrations returns the scripts that create and update a database of the kind store ("control" or "tenant"), in order.
// Released scripts never change; changes are new scripts. Migrations panics if the kind is unknown.
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
