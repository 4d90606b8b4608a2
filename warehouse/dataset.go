package warehouse

import (
	"fmt"
	"slices"
	"strings"

	statements "github.com/voicory/warehouse/sql"
)

// Dataset is one of the three kinds of row that a tenant has.
type Dataset struct {
	// Name is the table, the folder in the lake and the path under /api/v1.
	Name string
	// Monthly datasets are published as one file per month (UTC) of created_at, the others as one file.
	Monthly bool
	// fields are the names that a row may arrive with, and what they become.
	fields []field
	// passed are names that a row may arrive with, and that are not looked at.
	ignoredFields []string
	// customerNumber is the expression for the digits of the customer's number; NULL where rows name customers otherwise.
	customerNumber string
}

// field is a name and the type of its column: as in the tenant's tables, where it is kept.
type field struct{ name, typ string }

// The datasets. user_id says the tenant, updated_at the version of the row, and deleted_at that it is no more; of these only
// customers keep updated_at as a column.
var (
	Calls = Dataset{Name: "calls", Monthly: true,
		customerNumber: "digits(coalesce(nullif(trim(phone_number), ''), CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END))",
		fields: fields(`user_id UUID, id UUID, call_sid VARCHAR, direction VARCHAR, status VARCHAR, from_number VARCHAR, to_number VARCHAR,
			phone_number VARCHAR, duration JSON, duration_seconds INTEGER, cost DECIMAL(10,4), summary VARCHAR, transcript JSON,
			recording_url VARCHAR, provider VARCHAR, started_at TIMESTAMPTZ, ended_at TIMESTAMPTZ, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ,
			assistant_id UUID, metadata JSON, stt_minutes DOUBLE, tts_characters BIGINT`)}
	Customers = Dataset{Name: "customers", ignoredFields: []string{"recent_calls", "recent_messages"}, customerNumber: "digits(phone_number)",
		fields: fields(`user_id UUID, id UUID, name VARCHAR, email VARCHAR, phone_number VARCHAR, source VARCHAR, interaction_count BIGINT,
			last_interaction TIMESTAMPTZ, variables JSON, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ`)}
	Messages = Dataset{Name: "messages", Monthly: true, ignoredFields: []string{"config_id"}, customerNumber: "digits(CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END)",
		fields: fields(`user_id UUID, id UUID, direction VARCHAR, content JSON, message_type VARCHAR, from_number VARCHAR, to_number VARCHAR,
			status VARCHAR, is_from_bot BOOLEAN, delivered_at TIMESTAMPTZ, read_at TIMESTAMPTZ, created_at TIMESTAMPTZ, updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ,
			customer_id UUID, assistant_id UUID, wa_message_id VARCHAR`)}

	Datasets = []Dataset{Calls, Customers, Messages}
)

func fields(list string) []field {
	var out []field
	for part := range strings.SplitSeq(strings.Join(strings.Fields(list), " "), ", ") {
		name, typ, _ := strings.Cut(part, " ")
		out = append(out, field{name, typ})
	}
	return out
}

// DatasetNamed finds a dataset; an unknown name is ErrInvalid.
func DatasetNamed(name string) (Dataset, error) {
	for _, d := range Datasets {
		if d.Name == name {
			return d, nil
		}
	}
	return Dataset{}, fmt.Errorf("%w: no dataset %q; there are calls, customers and messages", ErrInvalid, name)
}

// known are the names that a row may arrive with.
func (d Dataset) acceptedFields() []string {
	names := slices.Clone(d.ignoredFields)
	for _, f := range d.fields {
		names = append(names, f.name)
	}
	return names
}

// FieldType returns the type of the column that a field of incoming rows becomes, empty for a field that is accepted and not kept, and
// whether rows may have a field of this name. A field of the type JSON may hold any JSON value.
func (d Dataset) FieldType(name string) (typ string, known bool) {
	for _, f := range d.fields {
		if f.name == name {
			return f.typ, true
		}
	}
	return "", slices.Contains(d.ignoredFields, name)
}

// looseType is what a field is before it is typed.
func (f field) looseType() string {
	if f.typ == "JSON" {
		return "JSON"
	}
	return "VARCHAR"
}

// typed says whether the field must become something that its text may not be.
func (f field) typed() bool { return f.typ != "JSON" && f.typ != "VARCHAR" }

// kind is the word for the field's type in a refusal.
func (f field) kind() string {
	return map[string]string{"UUID": "UUID", "TIMESTAMPTZ": "time", "DECIMAL(10,4)": "decimal(10,4)", "INTEGER": "whole number",
		"BIGINT": "whole number", "DOUBLE": "number", "BOOLEAN": "truth value", "JSON": "JSON"}[f.typ]
}

// fault is the condition under which the loose text did not become a value that its column may hold.
func (f field) faultCondition(loose, value string) string {
	good := value + " IS NOT NULL"
	switch f.typ {
	case "JSON":
		good = "strict_json(" + value + "::VARCHAR)"
	case "TIMESTAMPTZ":
		good = "plausible(" + value + ")"
	case "DOUBLE":
		good = "isfinite(" + value + ")"
	}
	return fmt.Sprintf("(%s IS NOT NULL AND (%s) IS NOT TRUE)", loose, good)
}

// stores tells whether the field is a column of the dataset's table.
func (d Dataset) stores(f field) bool {
	return f.name != "user_id" && f.name != "deleted_at" && (f.name != "updated_at" || d.Name == Customers.Name)
}

// updated assigns to every column what a row of fresh has, but for those that the rows are found by.
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

// fillAbsent returns the statement by which staged rows of the tenant that the slots name take over what is kept of fields that they
// cannot have; false where none of these is kept.
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
	return statements.Fill("merge/fill_absent", slots...), len(set) > 0
}

// staging returns the statements that type the rows of the queries loose into the table staged, and the one that tells why rows are
// refused. tenant is the UUID whose rows they are, or NULL.
func (d Dataset) staging(loose, tenant string) (typing, reasons string) {
	var typed, faults, stored, whys []string
	for _, f := range d.fields {
		column := statements.Ident(f.name)
		if f.typ != "VARCHAR" {
			cast := func(loose string) string { return fmt.Sprintf("TRY_CAST(%s AS %s)", loose, f.typ) }
			loose, suspect := "loose."+column, "suspect[1]."+column
			typed = append(typed, cast(loose)+" AS "+column)
			faults = append(faults, f.faultCondition(loose, column))
			whys = append(whys, fmt.Sprintf("CASE WHEN %s THEN %s || left(%s::VARCHAR, 80) END", f.faultCondition(suspect, cast(suspect)), statements.Text(f.name+" is no "+f.kind()+": "), suspect))
		} else {
			typed = append(typed, "loose."+column)
		}
		if d.stores(f) {
			stored = append(stored, column)
		}
	}
	typing = statements.Fill("stage/type", "loose", loose, "tenant", tenant, "typed", strings.Join(typed, ", "), "faults", strings.Join(faults, " OR "),
		"stored", strings.Join(stored, ", "), "derived", d.customerNumber)
	return typing, statements.Fill("stage/reasons", "reasons", strings.Join(whys, ",\n    "))
}
