package schema

import (
	"fmt"
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// untypedType returns the type of the field's untyped value, which is the value before it is cast to the field's type.
func (f field) untypedType() string {
	if f.typ == "JSON" {
		return "JSON"
	}
	return "VARCHAR"
}

// typed reports whether the text of a value may be invalid for the field's type.
func (f field) typed() bool { return f.typ != "JSON" && f.typ != "VARCHAR" }

// kind returns the name of the field's type in the reason of a refusal.
func (f field) kind() string {
	return map[string]string{
		"UUID": "a UUID", "TIMESTAMPTZ": "a time", "DECIMAL(10,4)": "a decimal(10,4)", "INTEGER": "an integer",
		"BIGINT": "an integer", "DOUBLE": "a number", "BOOLEAN": "a boolean", "JSON": "valid JSON",
	}[f.typ]
}

// cast returns the SQL expression for the typed value, which is NULL if the untyped value is not valid.
func (f field) cast(untyped string) string {
	if f.typ == "TIMESTAMPTZ" {
		return "text_to_time(" + untyped + ")"
	}
	return fmt.Sprintf("TRY_CAST(%s AS %s)", untyped, f.typ)
}

// faultCondition returns a SQL condition that is true if the untyped value is present but not valid for the column.
func (f field) faultCondition(untyped, value string) string {
	good := value + " IS NOT NULL"
	switch f.typ {
	case "JSON":
		good = "strict_json(" + value + "::VARCHAR)"
	case "DOUBLE":
		good = "isfinite(" + value + ")"
	}
	return fmt.Sprintf("(%s IS NOT NULL AND (%s) IS NOT TRUE)", untyped, good)
}

// phoneFields are the fields that hold phone numbers.
var phoneFields = []string{"from_number", "to_number", "phone_number"}

// textFields are the JSON fields in which a JSON string that holds an object or a list is a text. The other fields hold
// objects, which many programs write as a text.
var textFields = []string{"transcript", "duration"}

// untyped returns the SQL expression of the field's untyped value in a line. If the column does not hold text, the
// expression trims the value and is NULL for an empty one.
func (f field) untyped() string {
	value := "source." + statements.Ident(f.name)
	read := func(macro string) string {
		return fmt.Sprintf("%s(%s, text, %s)", macro, value, statements.Text("$."+f.name))
	}
	switch {
	case f.typed():
		return "nullif(trim(" + value + "), '')"
	case slices.Contains(phoneFields, f.name):
		return read("plain_phone")
	case f.typ == "VARCHAR":
		return read("plain_text")
	case !slices.Contains(textFields, f.name):
		return "json_in_text(" + value + ")"
	}
	return value
}

// named returns the expression with the field's name as its alias.
func (f field) named(expression string) string { return expression + " AS " + statements.Ident(f.name) }

// UntypedLines returns a query that selects the untyped rows of a relation with the columns line, text and defect.
func (d Dataset) UntypedLines(relation string) string {
	types, columns := make([]string, len(d.fields)), make([]string, len(d.fields))
	for i, f := range d.fields {
		types[i] = fmt.Sprintf("%q:%q", f.name, f.untypedType())
		columns[i] = f.named(f.untyped())
	}
	return statements.Fill("stage/ndjson", "lines", relation, "known", statements.Texts(d.acceptedFields()...),
		"fields", "{"+strings.Join(types, ",")+"}", "columns", strings.Join(columns, ", "))
}

// UpdateList returns the SET list that copies every column from the table fresh, except the columns that identify the
// row.
func (d Dataset) UpdateList() string {
	columns := []string{"customer_number", "_source_at", "_hash"}
	for _, f := range d.fields {
		if d.stores(f) && f.name != "id" && f.name != "created_at" {
			columns = append(columns, f.name)
		}
	}
	for i, column := range columns {
		columns[i] = statements.Ident(column) + " = fresh." + statements.Ident(column)
	}
	return strings.Join(columns, ", ")
}

// FillAbsent returns the statement that copies the existing values of missing fields into the staged rows of a
// tenant, and whether the dataset stores any of these fields. The slots name the tenant.
func (d Dataset) FillAbsent(absent, slots []string) (string, bool) {
	var set, values []string
	for _, f := range d.fields {
		if !d.stores(f) {
			continue
		}
		column := statements.Ident(f.name)
		if slices.Contains(absent, f.name) {
			set = append(set, column+" = kept."+column)
			values = append(values, "kept."+column)
		} else {
			values = append(values, "staged."+column)
		}
	}
	slots = append([]string{"absent", strings.Join(set, ", "), "values", strings.Join(values, ", ")}, slots...)
	return statements.Fill("merge/fill_missing_fields", slots...), len(set) > 0
}

// Staging returns two statements: typing casts the rows of the query untyped into the table staged, and reasons sets
// the reason of each refused row. tenant is an expression for the tenant of all rows, or NULL.
func (d Dataset) Staging(untyped, tenant string) (typing, reasons string) {
	var typed, faults, stored, causes []string
	for _, f := range d.fields {
		column := statements.Ident(f.name)
		if f.typ != "VARCHAR" {
			untyped, suspect := "untyped."+column, "suspect[1]."+column
			typed = append(typed, f.cast(untyped)+" AS "+column)
			faults = append(faults, f.faultCondition(untyped, column))
			causes = append(causes, fmt.Sprintf("CASE WHEN %s THEN %s || left(%s::VARCHAR, 80) END",
				f.faultCondition(suspect, f.cast(suspect)), statements.Text(f.name+" is not "+f.kind()+": "), suspect))
		} else {
			typed = append(typed, "untyped."+column)
		}
		if d.stores(f) {
			stored = append(stored, column)
		}
	}
	typing = statements.Fill("stage/cast", "untyped", untyped, "tenant", tenant, "typed", strings.Join(typed, ", "),
		"faults", strings.Join(faults, " OR "), "stored", strings.Join(stored, ", "), "derived", d.customerNumber)
	return typing, statements.Fill("stage/reasons", "reasons", strings.Join(causes, ",\n    "))
}
