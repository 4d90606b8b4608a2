package warehouse

import (
	"database/sql"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Filter narrows a list. Values that are empty do not filter; a value a dataset has no column for is not used by it.
type Filter struct {
	From, Before              time.Time // bounds of created_at: inclusive, exclusive; zero: none
	Status, Direction, Source string
	Search                    string // substring of name, email or phone number, in any case
	PhoneNumber               string // compared by its digits
	AssistantID, CustomerID   uuid.NullUUID
}

// Filters are the names of the filters that the dataset's list has, and so each export that is made of it.
func (d Dataset) Filters() []string {
	names := []string{"from", "to"}
	switch d.Name {
	case Calls.Name:
		return append(names, "status", "direction", "assistant_id", "phone_number")
	case Customers.Name:
		return append(names, "search", "source")
	default:
		return append(names, "direction", "customer_id", "phone_number")
	}
}

// FilterError says what is wrong with the value of a filter. It is ErrInvalid.
type FilterError struct{ Name, Fault string }

func (e *FilterError) Error() string { return "the filter " + e.Name + " " + e.Fault }
func (e *FilterError) Unwrap() error { return ErrInvalid }

// ParseFilter reads the filters that the dataset has; value is the text of one by its name, empty where it is not given. Dates and times
// that name no zone are in the one that is given. A text that cannot be understood is a [FilterError].
func (d Dataset) ParseFilter(value func(name string) string, zone *time.Location) (f Filter, err error) {
	texts := map[string]*string{"status": &f.Status, "direction": &f.Direction, "phone_number": &f.PhoneNumber, "search": &f.Search, "source": &f.Source}
	ids := map[string]*uuid.NullUUID{"assistant_id": &f.AssistantID, "customer_id": &f.CustomerID}
	for _, name := range d.Filters() {
		text, fault := value(name), ""
		if text == "" {
			continue
		}
		switch {
		case name == "from":
			f.From, _, err = parseTime(text, zone)
			fault = "is not an ISO 8601 date or date-time"
		case name == "to":
			_, f.Before, err = parseTime(text, zone)
			fault = "is not an ISO 8601 date or date-time"
		case ids[name] != nil:
			ids[name].Valid = true
			if ids[name].UUID, err = uuid.Parse(text); len(text) != 36 { // the usual form and no other
				err = ErrInvalid
			}
			fault = "is not a UUID"
		default:
			if *texts[name] = text; !utf8.ValidString(text) {
				err = ErrInvalid
			}
			fault = "is not UTF-8"
		}
		if err != nil {
			return Filter{}, &FilterError{name, fault}
		}
	}
	return f, nil
}

// parseTime reads an ISO 8601 date or date-time, in the zone where it names none. before is where an inclusive upper bound
// ends: a date means its whole day, and a time its whole millisecond, which is all that answers show.
func parseTime(text string, zone *time.Location) (at, before time.Time, err error) {
	if strings.HasPrefix(text, "0000") {
		return at, at, errors.New("there is no year 0")
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return StartOfDay(day, zone), StartOfDay(day.AddDate(0, 0, 1), zone), nil
	}
	// A plus sign that was not escaped in the URL arrives as a space.
	if n := len(text); n > 6 && text[n-6] == ' ' {
		text = text[:n-6] + "+" + text[n-5:]
	}
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15:04:05Z0700",
	} { // fractions of a second are taken by each
		if at, err = time.ParseInLocation(layout, text, zone); err == nil {
			at = at.UTC()
			if at.Nanosecond()%int(time.Millisecond) != 0 {
				return at, at.Add(time.Microsecond), nil
			}
			return at, at.Add(time.Millisecond), nil
		}
	}
	return time.Time{}, time.Time{}, err
}

// StartOfDay is when the day begins in the zone: at midnight, or, where clocks are set ahead then, at the first time after it. UTC.
func StartOfDay(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	for at.Day() != day.Day() {
		at = at.Add(15 * time.Minute)
	}
	return at.UTC()
}

// The widest bounds that a created_at can have (see the staging of rows).
var (
	minCreatedAt = time.Unix(0, 0).UTC()
	maxCreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// bounded fills in open bounds, so that a filter always has both.
func (f Filter) bounded() Filter {
	if f.From.IsZero() {
		f.From = minCreatedAt
	}
	if f.Before.IsZero() {
		f.Before = maxCreatedAt
	}
	return f
}

// unbounded is the filter without its bounds.
func (f Filter) unbounded() Filter {
	f.From, f.Before = time.Time{}, time.Time{}
	return f
}

// between is the filter with these bounds, where they are tighter than its own; it has both.
func (f Filter) between(from, before time.Time) Filter {
	if from.After(f.From) {
		f.From = from
	}
	if before.Before(f.Before) {
		f.Before = before
	}
	return f
}

// nullable is a parameter that may be null.
func nullable(name string, value uuid.NullUUID) sql.NamedArg {
	if !value.Valid {
		return sql.Named(name, nil)
	}
	return sql.Named(name, value.UUID.String())
}

// args are the parameters of the dataset's WHERE clause.
func (f Filter) args(dataset Dataset) []any {
	text := func(name, value string) sql.NamedArg {
		if value == "" {
			return sql.Named(name, nil)
		}
		return sql.Named(name, value)
	}
	f = f.bounded()
	args := []any{sql.Named("from", f.From), sql.Named("before", f.Before)}
	switch dataset.Name {
	case Calls.Name:
		return append(args, text("status", f.Status), text("direction", f.Direction), nullable("assistant_id", f.AssistantID), text("phone_number", f.PhoneNumber))
	case Customers.Name:
		return append(args, text("source", f.Source), text("search", f.Search))
	default:
		return append(args, text("direction", f.Direction), nullable("customer_id", f.CustomerID), text("phone_number", f.PhoneNumber))
	}
}
