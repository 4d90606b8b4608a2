package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// filterFlags are the filters of the lists, by the same names but for the hyphens.
type filterFlags struct {
	From        string `help:"Only rows created at or after this date or date-time, in UTC where it names no zone." placeholder:"TIME"`
	To          string `help:"Only rows created at or before it; a date is its whole day." placeholder:"TIME"`
	Status      string `help:"Only calls of this status." placeholder:"STATUS"`
	Direction   string `help:"Only calls, or messages, of this direction: inbound or outbound." placeholder:"DIRECTION"`
	AssistantID string `name:"assistant-id" help:"Only calls of this assistant." placeholder:"UUID"`
	CustomerID  string `name:"customer-id" help:"Only messages of this customer." placeholder:"UUID"`
	PhoneNumber string `help:"Only calls, or messages, with this number of the customer's." placeholder:"NUMBER"`
	Search      string `help:"Only customers with this text in their name, email or phone number." placeholder:"TEXT"`
	Source      string `help:"Only customers of this source." placeholder:"SOURCE"`
}

// filter is that of an export; a flag for what its rows have no filter for is refused.
func (f filterFlags) filter(export warehouse.Export) (warehouse.Filter, error) {
	given := map[string]string{"from": f.From, "to": f.To, "status": f.Status, "direction": f.Direction, "assistant_id": f.AssistantID,
		"customer_id": f.CustomerID, "phone_number": f.PhoneNumber, "search": f.Search, "source": f.Source}
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
		return warehouse.Filter{}, fmt.Errorf("%w: %s cannot be filtered by %s; there are %s", warehouse.ErrInvalid, export.Name, strings.Join(unsupported, " and "), strings.Join(flags, ", "))
	}
	filter, err := export.Source.ParseFilter(func(name string) string { return given[name] }, time.UTC)
	if wrong := (*warehouse.FilterError)(nil); errors.As(err, &wrong) {
		return filter, fmt.Errorf("%w: %s %s", warehouse.ErrInvalid, flagName(wrong.Name), wrong.Fault)
	}
	return filter, err
}

// flagOf is the flag for a filter.
func flagName(filter string) string { return "--" + strings.ReplaceAll(filter, "_", "-") }
