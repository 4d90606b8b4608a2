package warehouse

import (
	"fmt"
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// A Dataset is one of the three kinds of rows of a tenant.
type Dataset struct {
	// Name is the name of the table, of the folder in the lake and of the path under /api/v1.
	Name string
	// Monthly datasets are published as one file per month (UTC) of created_at, the others as one file.
	Monthly bool
	// fields are the accepted fields of incoming rows.
	fields []field
	// ignoredFields are fields of incoming rows that are neither stored nor reported as unknown.
	ignoredFields []string
	// customerNumber is the SQL expression for the digits of the customer's number, NULL if the row has none.
	customerNumber string
}

// A field is a name and the SQL type of its values.
type field struct{ name, typ string }

// The datasets. The field user_id names the tenant, updated_at is the version of the row, and deleted_at marks a
// deletion. Of these fields, only customers store updated_at as a column.
var (
	Calls = Dataset{
		Name:    "calls",
		Monthly: true,
		customerNumber: "digits(coalesce(nullif(trim(phone_number), ''), " +
			"CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END))",
		fields: fields(`user_id UUID, id UUID, call_sid VARCHAR, direction VARCHAR, status VARCHAR, from_number VARCHAR,
			to_number VARCHAR, phone_number VARCHAR, duration JSON, duration_seconds INTEGER, cost DECIMAL(10,4),
			summary VARCHAR, transcript JSON, recording_url VARCHAR, provider VARCHAR, started_at TIMESTAMPTZ,
			ended_at TIMESTAMPTZ, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ, assistant_id UUID,
			metadata JSON, stt_minutes DOUBLE, tts_characters BIGINT`),
	}
	Customers = Dataset{
		Name:           "customers",
		ignoredFields:  []string{"recent_calls", "recent_messages"},
		customerNumber: "digits(phone_number)",
		fields: fields(`user_id UUID, id UUID, name VARCHAR, email VARCHAR, phone_number VARCHAR, source VARCHAR,
			interaction_count BIGINT, last_interaction TIMESTAMPTZ, variables JSON, created_at TIMESTAMPTZ,
			updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ`),
	}
	Messages = Dataset{
		Name:           "messages",
		Monthly:        true,
		ignoredFields:  []string{"config_id"},
		customerNumber: "digits(CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END)",
		fields: fields(`user_id UUID, id UUID, direction VARCHAR, content JSON, message_type VARCHAR, from_number VARCHAR,
			to_number VARCHAR, status VARCHAR, is_from_bot BOOLEAN, delivered_at TIMESTAMPTZ, read_at TIMESTAMPTZ,
			created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ, customer_id UUID, assistant_id UUID,
			wa_message_id VARCHAR`),
	}

	// Datasets are all datasets.
	Datasets = []Dataset{Calls, Customers, Messages}
)

// fields parses a list of fields, each a name and a type.
func fields(list string) []field {
	var out []field
	for part := range strings.SplitSeq(strings.Join(strings.Fields(list), " "), ", ") {
		name, typ, _ := strings.Cut(part, " ")
		out = append(out, field{name, typ})
	}
	return out
}

// DatasetNamed returns the dataset with the name, or ErrInvalid.
func DatasetNamed(name string) (Dataset, error) {
	for _, d := range Datasets {
		if d.Name == name {
			return d, nil
		}
	}
	return Dataset{}, fmt.Errorf("%w: unknown dataset %q (want calls, customers or messages)", ErrInvalid, name)
}

// acceptedFields returns the names of fields that are not reported as unknown.
func (d Dataset) acceptedFields() []string {
	names := slices.Clone(d.ignoredFields)
	for _, f := range d.fields {
		names = append(names, f.name)
	}
	return names
}

// FieldType returns the column type of a field, or "" if values of the field are ignored, and whether rows may have the
// field. A field of the type JSON accepts any JSON value.
func (d Dataset) FieldType(name string) (typ string, known bool) {
	for _, f := range d.fields {
		if f.name == name {
			return f.typ, true
		}
	}
	return "", slices.Contains(d.ignoredFields, name)
}

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

// faultCondition returns a SQL condition that is true if the untyped value is present but not valid for the column.
func (f field) faultCondition(untyped, value string) string {
	good := value + " IS NOT NULL"
	switch f.typ {
	case "JSON":
		good = "strict_json(" + value + "::VARCHAR)"
	case "TIMESTAMPTZ":
		good = "plausible(" + value + ")"
	case "DOUBLE":
		good = "isfinite(" + value + ")"
	}
	return fmt.Sprintf("(%s IS NOT NULL AND (%s) IS NOT TRUE)", untyped, good)
}

// stores reports whether the field is a column of the dataset's table.
func (d Dataset) stores(f field) bool {
	return f.name != "user_id" && f.name != "deleted_at" && (f.name != "updated_at" || d.Name == Customers.Name)
}

// updateList returns the SET list that copies every column from the table fresh, except the columns that identify the
// row.
func (d Dataset) updateList() string {
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

// fillAbsent returns the statement that copies the existing values of missing fields into the staged rows of a
// tenant, and whether the dataset stores any of these fields. The slots name the tenant.
func (d Dataset) fillAbsent(absent, slots []string) (string, bool) {
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

// staging returns two statements: typing casts the rows of the query untyped into the table staged, and reasons sets
// the reason of each refused row. tenant is an expression for the tenant of all rows, or NULL.
func (d Dataset) staging(untyped, tenant string) (typing, reasons string) {
	var typed, faults, stored, causes []string
	for _, f := range d.fields {
		column := statements.Ident(f.name)
		if f.typ != "VARCHAR" {
			cast := func(untyped string) string { return fmt.Sprintf("TRY_CAST(%s AS %s)", untyped, f.typ) }
			untyped, suspect := "untyped."+column, "suspect[1]."+column
			typed = append(typed, cast(untyped)+" AS "+column)
			faults = append(faults, f.faultCondition(untyped, column))
			causes = append(causes, fmt.Sprintf("CASE WHEN %s THEN %s || left(%s::VARCHAR, 80) END",
				f.faultCondition(suspect, cast(suspect)), statements.Text(f.name+" is not "+f.kind()+": "), suspect))
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
