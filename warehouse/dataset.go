package warehouse

import (
	"fmt"
	"strings"
)

// Dataset is one of the three kinds of row that a tenant has.
type Dataset struct {
	// Name is the table, the folder in the lake and the path under /api/v1.
	Name string
	// Monthly datasets are published as one file per month (UTC) of created_at, the others as one file.
	Monthly bool
	// fields are the names that a row may arrive with; JSON fields keep their structure.
	fields []field
}

type field struct {
	name string
	json bool
}

// The datasets.
var (
	Calls = Dataset{Name: "calls", Monthly: true, fields: fields(
		"user_id id call_sid direction status from_number to_number phone_number duration:json duration_seconds cost summary " +
			"transcript:json recording_url provider started_at ended_at created_at updated_at assistant_id metadata:json stt_minutes tts_characters")}
	Customers = Dataset{Name: "customers", fields: fields(
		"user_id id name email phone_number source interaction_count last_interaction variables:json created_at updated_at")}
	Messages = Dataset{Name: "messages", Monthly: true, fields: fields(
		"user_id id direction content:json message_type from_number to_number status is_from_bot delivered_at read_at created_at updated_at " +
			"customer_id assistant_id wa_message_id")}

	Datasets = []Dataset{Calls, Customers, Messages}
)

func fields(list string) []field {
	var out []field
	for word := range strings.FieldsSeq(list) {
		name, json := strings.CutSuffix(word, ":json")
		out = append(out, field{name, json})
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
