package schema

import (
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// A Filter selects rows of a dataset. Empty values select all rows. A dataset ignores values for columns it does not
// have.
type Filter struct {
	From, Before              time.Time // bounds of created_at: inclusive, exclusive; zero: unbounded
	Status, Direction, Source string
	Search                    string // substring of name, email or phone number, case-insensitive
	PhoneNumber               string // see phoneArgs
	AssistantID, CustomerID   uuid.NullUUID
}

// Filters returns the names of the filters of the dataset. Exports derived from it have the same filters.
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

// A FilterError describes an invalid value of a filter. It wraps ErrInvalid.
type FilterError struct{ Name, Fault string }

// Error returns the name of the filter and the fault of its value.
func (e *FilterError) Error() string { return "the filter " + e.Name + " " + e.Fault }

// Unwrap returns ErrInvalid.
func (e *FilterError) Unwrap() error { return ErrInvalid }

// ParseFilter parses the filters of the dataset. value returns the text of a filter by name, or "" if it is not set.
// Dates and times without a zone are in zone. ParseFilter returns a [FilterError] for an invalid text.
func (d Dataset) ParseFilter(value func(name string) string, zone *time.Location) (f Filter, err error) {
	texts := map[string]*string{
		"status": &f.Status, "direction": &f.Direction, "phone_number": &f.PhoneNumber,
		"search": &f.Search, "source": &f.Source,
	}
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
			if ids[name].UUID, err = uuid.Parse(text); len(text) != 36 { // uuid.Parse accepts other forms
				err = ErrInvalid
			}
			fault = "is not a UUID"
		default:
			// A literal of SQL cannot hold NUL.
			if *texts[name] = text; !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
				err = ErrInvalid
			}
			fault = "is not UTF-8 text, or contains NUL"
		}
		if err != nil {
			return Filter{}, &FilterError{name, fault}
		}
	}
	return f, nil
}

// parseTime parses an ISO 8601 date or date-time; the zone applies if the text has none. at is the time as a lower
// bound. before is the exclusive bound for an inclusive upper bound: it includes the whole day of a date, and the
// whole millisecond of a time, because responses show times in milliseconds.
func parseTime(text string, zone *time.Location) (at, before time.Time, err error) {
	if strings.HasPrefix(text, "0000") {
		return at, at, errors.New("year 0 does not exist")
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return ClampBound(StartOfDay(day, zone)), ClampBound(StartOfDay(day.AddDate(0, 0, 1), zone)), nil
	}
	text = strings.ToUpper(text) // RFC 3339 allows t and z
	// A plus sign that was not escaped in the URL arrives as a space.
	if n := len(text); n > 6 && text[n-6] == ' ' {
		text = text[:n-6] + "+" + text[n-5:]
	}
	endOfDay := len(text) >= len("2006-01-02T24:00") && text[11:16] == "24:00"
	if endOfDay {
		text = text[:11] + "00" + text[13:]
	}
	for _, layout := range []string{
		"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05",
		"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02T15:04:05Z0700",
	} { // each layout also accepts fractions of a second
		if at, err = time.ParseInLocation(layout, text, zone); err == nil {
			if endOfDay {
				if clock := at.Format("15:04:05.999999999"); clock != "00:00:00" {
					return at, at, errors.New("24:00 is the last moment of a day")
				}
				at = at.AddDate(0, 0, 1)
			}
			width := time.Millisecond
			if at.Nanosecond()%int(time.Millisecond) != 0 {
				width = time.Microsecond
			}
			return ClampBound(at), ClampBound(at.Add(width)), nil
		}
	}
	return time.Time{}, time.Time{}, err
}

// The range of the bounds of a filter: the first and the last microsecond of the years 1 to 9999. JSON, ISO 8601 and
// DuckDB can express all times between them. The first instant of year 1 is the zero time, which stands for no bound.
var (
	firstBound = time.Time{}.Add(time.Microsecond)
	lastBound  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).Add(-time.Microsecond)
)

// ClampBound returns the time in UTC, or the nearest time that can be a bound of a filter. Every bound that is computed
// from another passes it: the end of a day, a time with an offset, and the start of a previous period can lie outside.
func ClampBound(at time.Time) time.Time {
	switch {
	case at.Before(firstBound):
		return firstBound
	case at.After(lastBound):
		return lastBound
	}
	return at.UTC()
}

// StartOfDay returns the start of the day in the zone, as a UTC time. That is midnight, or the first existing time
// after it if clocks are set forward at midnight.
func StartOfDay(day time.Time, zone *time.Location) time.Time {
	at := time.Date(day.Year(), day.Month(), day.Day(), 0, 0, 0, 0, zone)
	for at.Day() != day.Day() {
		at = at.Add(15 * time.Minute)
	}
	return at.UTC()
}

// Bounds of every created_at. Staging refuses rows outside of them (see values.ParseTime).
var (
	MinCreatedAt = time.Unix(0, 0).UTC()
	maxCreatedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Bounded returns the filter with missing bounds filled in.
func (f Filter) Bounded() Filter {
	if f.From.IsZero() {
		f.From = MinCreatedAt
	}
	if f.Before.IsZero() {
		f.Before = maxCreatedAt
	}
	return f
}

// Unbounded returns the filter without its bounds.
func (f Filter) Unbounded() Filter {
	f.From, f.Before = time.Time{}, time.Time{}
	return f
}

// Between returns the intersection of the filter and the bounds. The filter must be bounded.
func (f Filter) Between(from, before time.Time) Filter {
	if from.After(f.From) {
		f.From = from
	}
	if before.Before(f.Before) {
		f.Before = before
	}
	return f
}

// nullable returns a parameter that is NULL if the value is not valid.
func nullable(name string, value uuid.NullUUID) sql.NamedArg {
	if !value.Valid {
		return sql.Named(name, nil)
	}
	return sql.Named(name, value.UUID.String())
}

// phoneNumber matches a phone number in any usual spelling: digits and separators, which may follow tel: or whatsapp:.
// Separators are space characters, dashes, invisible characters and + ( ) . /. The macro caller matches the same.
var phoneNumber = regexp.MustCompile(`^(?i)\s*((tel|whatsapp):)?[0-9+()./\s\p{Zs}\p{Pd}\p{Cf}]*$`)

// Caller returns the customer that a number names, as the column customer_number has it: the digits of a phone number,
// whatever its spelling, and any other text, such as anonymous, sip:alice@example.com or client:web-7, as it is.
func Caller(number string) string {
	if !phoneNumber.MatchString(number) {
		return strings.TrimSpace(number)
	}
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, number)
}

// Args returns the parameters of the dataset's WHERE clause, sql/pages/*_where.sql.
func (f Filter) Args(dataset Dataset) []any {
	text := func(name, value string) sql.NamedArg {
		if value == "" {
			return sql.Named(name, nil)
		}
		return sql.Named(name, value)
	}
	f = f.Bounded()
	phone := sql.Named("phone", nil)
	if f.PhoneNumber != "" {
		phone.Value = Caller(f.PhoneNumber) // separators without digits match no row
	}
	args := []any{sql.Named("from", f.From), sql.Named("before", f.Before)}
	switch dataset.Name {
	case Calls.Name:
		return append(args, text("status", f.Status), text("direction", f.Direction),
			nullable("assistant_id", f.AssistantID), phone)
	case Customers.Name:
		return append(args, text("source", f.Source), text("search", f.Search))
	default:
		return append(args, text("direction", f.Direction), nullable("customer_id", f.CustomerID), phone)
	}
}

// TimeCondition returns the condition of a filter that has bounds only.
func (f Filter) TimeCondition() string {
	const layout = "2006-01-02 15:04:05+00"
	return fmt.Sprintf("created_at >= '%s' AND created_at < '%s'",
		f.From.UTC().Format(layout), f.Before.UTC().Format(layout))
}
