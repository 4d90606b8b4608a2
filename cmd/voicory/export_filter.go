package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// filterFlags are the filters of the REST lists under the same names, with hyphens instead of underscores.
type filterFlags struct {
	From        string `help:"Only rows created at or after this date or date-time; the default zone is UTC." placeholder:"TIME"`
	To          string `help:"Only rows created at or before this date or date-time; a date includes its whole day." placeholder:"TIME"`
	Status      string `help:"Only calls with this status." placeholder:"STATUS"`
	Direction   string `help:"Only calls or messages with this direction: inbound or outbound." placeholder:"DIRECTION"`
	AssistantID string `name:"assistant-id" help:"Only calls of this assistant." placeholder:"UUID"`
	CustomerID  string `name:"customer-id" help:"Only messages of this customer." placeholder:"UUID"`
	PhoneNumber string `help:"Only calls of the customer with this phone number, or messages from or to it. Digits are compared, whatever the spelling." placeholder:"NUMBER"`
	Search      string `help:"Only customers with this text in their name, email or phone number." placeholder:"TEXT"`
	Source      string `help:"Only customers from this source." placeholder:"SOURCE"`
}

// filter returns the filter that the flags describe. It returns warehouse.ErrInvalid if a value is invalid, or if the
// rows of the export have no such filter.
func (f filterFlags) filter(export schema.Export) (schema.Filter, error) {
	given := map[string]string{
		"from": f.From, "to": f.To, "status": f.Status, "direction": f.Direction, "assistant_id": f.AssistantID,
		"customer_id": f.CustomerID, "phone_number": f.PhoneNumber, "search": f.Search, "source": f.Source,
	}
	known := export.Source.Filters()
	var flags, unsupported []string
	for _, name := range known {
		flags = append(flags, flagName(name))
	}
	for name, text := range given {
		if text != "" && !slices.Contains(known, name) {
			unsupported = append(unsupported, flagName(name))
		}
	}
	if len(unsupported) > 0 {
		slices.Sort(unsupported)
		return schema.Filter{}, fmt.Errorf("%w: %s cannot be filtered by %s; its filters are %s",
			warehouse.ErrInvalid, export.Name, strings.Join(unsupported, " and "), strings.Join(flags, ", "))
	}
	filter, err := export.Source.ParseFilter(func(name string) string { return given[name] }, time.UTC)
	if wrong := (*schema.FilterError)(nil); errors.As(err, &wrong) {
		return filter, fmt.Errorf("%w: %s %s", warehouse.ErrInvalid, flagName(wrong.Name), wrong.Fault)
	}
	return filter, err
}

// flagName returns the flag of a filter.
func flagName(filter string) string { return "--" + strings.ReplaceAll(filter, "_", "-") }
