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

// Bounds of a call. Data frames write durations in microseconds or nanoseconds, so a greater number has another unit.
const (
	maxSeconds = "86400" // a day
	maxMinutes = "1440"
)

// cast returns the SQL expression for the typed value, which is NULL if no value of the column can hold the untyped
// value. The functions and macros are in sql/stage/macros.sql and package values.
func (f field) cast(untyped string) string {
	switch {
	case f.typ == "TIMESTAMPTZ":
		return "text_to_time(" + untyped + ")"
	case f.typ == "BOOLEAN":
		return "text_to_boolean(" + untyped + ")"
	case f.name == "duration_seconds":
		return "text_to_seconds(" + untyped + ", " + maxSeconds + ")"
	case f.name == "duration":
		return "plausible_duration(" + untyped + ", " + maxSeconds + ")"
	case f.name == "stt_minutes":
		return "text_to_minutes(" + untyped + ", " + maxMinutes + ")"
	case f.typ == "JSON":
		return "finite(" + untyped + ")"
	}
	return fmt.Sprintf("TRY_CAST(%s AS %s)", untyped, f.typ)
}

// suspicious returns a SQL condition that is true if the value differs from the untyped value. The table of suspects
// holds the untyped values of the rows in which the condition is true for at least one field.
func (f field) suspicious(untyped, value string) string {
	condition := value + " IS NULL"
	if f.typ == "JSON" {
		condition = value + " IS DISTINCT FROM " + untyped
	}
	return "(" + untyped + " IS NOT NULL AND " + condition + ")"
}

// malformed returns a SQL condition for an untyped value that could not be cast to the column's type. It is true if the
// value is of another kind, such as a text instead of a number. It is false if the value is of the right kind, but out
// of range.
func (f field) malformed(untyped string) string {
	switch {
	case f.typ == "TIMESTAMPTZ":
		return "parse_time(" + untyped + ") IS NULL"
	case f.typ == "JSON":
		return "false"
	case f.name == "duration_seconds" || f.name == "stt_minutes":
		return "parse_duration(" + untyped + ") IS NULL AND TRY_CAST(" + untyped + " AS DOUBLE) IS NULL"
	case f.typ == "UUID" || f.typ == "BOOLEAN":
		return "true"
	}
	return "TRY_CAST(" + untyped + " AS DOUBLE) IS NULL"
}

// requiredFields are the fields that identify a row, its partition or its deletion. A row is refused if the value of
// one of them is out of range. Another field is then NULL.
var requiredFields = []string{"user_id", "id", "created_at", "deleted_at"}

// reason returns the SQL expression of the reason why the field refuses its row, and NULL if it does not.
func (f field) reason(untyped string) string {
	condition := f.suspicious(untyped, f.cast(untyped))
	if !slices.Contains(requiredFields, f.name) {
		condition += " AND " + f.malformed(untyped)
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s || left(%s::VARCHAR, 80) END", condition,
		statements.Text(f.name+" is not "+f.kind()+": "), untyped)
}

// note returns the SQL expression of the note on the field in a row that is not refused, and NULL without one.
func (f field) note(untyped string) string {
	text := "out of range, set to null"
	if f.typ == "JSON" && f.name != "duration" {
		text = "contains NaN or Infinity, replaced by null"
	}
	return fmt.Sprintf("CASE WHEN %s THEN %s END", f.suspicious(untyped, f.cast(untyped)),
		statements.Text(f.name+noteSeparator+text))
}

// noteSeparator separates the field of a note from its text.
const noteSeparator = ": "

// ParseNote returns the field and the text of a note that the statement notes of [Dataset.Staging] selects.
func ParseNote(note string) (field, text string) {
	field, text, _ = strings.Cut(note, noteSeparator)
	return field, text
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

// untypedLines returns a query that selects the untyped rows of a relation with the columns line, text, defect and
// tenant.
func (d Dataset) untypedLines(relation string) string {
	types, columns := make([]string, len(d.fields)), make([]string, len(d.fields))
	for i, f := range d.fields {
		types[i] = fmt.Sprintf("%q:%q", f.name, f.untypedType())
		columns[i] = f.named(f.untyped())
	}
	return statements.Fill("stage/ndjson", "lines", relation, "known", statements.Texts(d.acceptedFields()...),
		"fields", "{"+strings.Join(types, ",")+"}", "columns", strings.Join(columns, ", "))
}

// UpdateColumns returns the columns that an update of a row may change: all except those that identify the row, and
// _seq.
func (d Dataset) UpdateColumns() []string {
	columns := []string{"customer_number", "_source_at", "_hash"}
	for _, f := range d.fields {
		if d.stores(f) && f.name != "id" && f.name != "created_at" {
			columns = append(columns, f.name)
		}
	}
	return columns
}

// UpdateList returns the SET list that copies the columns of UpdateColumns from the relation fresh, see merge/update.
func (d Dataset) UpdateList() string {
	columns := d.UpdateColumns()
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

// StagingStatements are the statements that stage rows.
type StagingStatements struct {
	Typing string // selects the typed rows, for the table staged
	// Suspects creates the temporary table of the untyped values of suspicious rows. Reasons sets the reason of each
	// refused row. Notes selects the notes on the other suspicious rows, and the number of rows of each. Accept marks
	// these rows as not refused. All four statements are needed only if a row is suspicious.
	Suspects, Reasons, Notes, Accept string
}

// Staging returns the statements for the lines of a relation with the columns line, text, defect, and tenant: the
// tenant of the row, or NULL if the line names it.
func (d Dataset) Staging(lines string) StagingStatements {
	var typed, suspicious, stored, reasons, notes []string
	for _, f := range d.fields {
		column := statements.Ident(f.name)
		if f.typ != "VARCHAR" {
			untyped, suspect := statements.Ident("untyped_"+f.name), "suspects."+column
			typed = append(typed, "untyped."+column+" AS "+untyped, f.cast("untyped."+column)+" AS "+column)
			suspicious = append(suspicious, f.suspicious(untyped, column))
			reasons = append(reasons, f.reason(suspect))
			notes = append(notes, f.note(suspect))
			if f.name == "transcript" {
				suspicious = append(suspicious, "unusual_transcript("+untyped+")")
				notes = append(notes, "CASE WHEN unknown_turns("+suspect+"::VARCHAR) > 0 THEN "+
					statements.Text(f.name+noteSeparator+"has parts of unknown shape, without turns")+" END")
			}
		} else {
			typed = append(typed, "untyped."+column)
		}
		if d.stores(f) {
			stored = append(stored, column)
		}
	}
	return StagingStatements{
		Typing: statements.Fill("stage/cast", "untyped", d.untypedLines(lines), "typed", strings.Join(typed, ", "),
			"suspicious", strings.Join(suspicious, " OR "), "stored", strings.Join(stored, ", "), "derived", d.customerNumber),
		Suspects: statements.Fill("stage/suspects",
			"untyped", d.untypedLines(strings.TrimSpace(statements.Get("stage/suspicious_lines")))),
		Reasons: statements.Fill("stage/reasons", "reasons", strings.Join(reasons, ",\n    ")),
		Accept:  statements.Get("stage/accept"),
		Notes:   statements.Fill("stage/notes", "notes", strings.Join(notes, ",\n    ")),
	}
}
