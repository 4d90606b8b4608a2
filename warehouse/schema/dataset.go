package schema

import (
	"fmt"
	"slices"
	"strings"
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
	// customerNumber is the SQL expression for the customer's number, see Caller. It is NULL if the row has none.
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
		customerNumber: "caller(coalesce(nullif(trim(phone_number), ''), " +
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
		customerNumber: "caller(phone_number)",
		fields: fields(`user_id UUID, id UUID, name VARCHAR, email VARCHAR, phone_number VARCHAR, source VARCHAR,
			interaction_count BIGINT, last_interaction TIMESTAMPTZ, variables JSON, created_at TIMESTAMPTZ,
			updated_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ`),
	}
	Messages = Dataset{
		Name:           "messages",
		Monthly:        true,
		ignoredFields:  []string{"config_id"},
		customerNumber: "caller(CASE direction WHEN 'inbound' THEN from_number WHEN 'outbound' THEN to_number END)",
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

// stores reports whether the field is a column of the dataset's table.
func (d Dataset) stores(f field) bool {
	return f.name != "user_id" && f.name != "deleted_at" && (f.name != "updated_at" || d.Name == Customers.Name)
}

// IdentityKeys returns the SQL list of the keys by which package erasure recognizes a person in a row: the id of the
// row, the id of its customer, and its phone numbers.
func (d Dataset) IdentityKeys() string {
	key := func(dataset, id string) string { return "'row:" + dataset + ":' || " + id + "::VARCHAR" }
	ids, numbers := []string{key(d.Name, "id")}, ""
	for _, f := range d.fields {
		switch {
		case f.name == "customer_id":
			ids = append(ids, key(Customers.Name, f.name))
		case strings.HasSuffix(f.name, "_number"):
			numbers += " || memory.main.number_keys(" + f.name + ")"
		}
	}
	return "([" + strings.Join(ids, ", ") + "]" + numbers + ")"
}
