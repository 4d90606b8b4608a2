package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/warehouse/control"
)

// queryLimits are the flags that limit the SQL queries of a key. A limit without its flag keeps its value, and 0 stands
// for the limit of the server.
type queryLimits struct {
	QueryRows  *queryRows  `help:"Maximum rows of a SQL result of the secret key; 0 removes the limit." placeholder:"N"`
	QueryBytes *queryBytes `help:"Maximum size of a SQL result of the secret key, in bytes of its format, such as 10MB; 0 removes the limit." placeholder:"SIZE"`
	QueryTime  *queryTime  `help:"Maximum run time of a SQL query of the secret key, such as 5s; 0 removes the limit." placeholder:"TIME"`
}

// apply sets the limits whose flags were given.
func (q *queryLimits) apply(settings *control.KeySettings) {
	if q.QueryRows != nil {
		settings.QueryRows = int64(*q.QueryRows)
	}
	if q.QueryBytes != nil {
		settings.QueryBytes = int64(*q.QueryBytes)
	}
	if q.QueryTime != nil {
		settings.QueryTime = control.Milliseconds(*q.QueryTime)
	}
}

// queryLimitsText returns the limits of SQL queries of a key, such as "1000 rows, 10MB, 5s", or "" if the key has none
// of its own.
func queryLimitsText(settings control.KeySettings) string {
	var limits []string
	if settings.QueryRows > 0 {
		limits = append(limits, fmt.Sprintf("%d rows", settings.QueryRows))
	}
	if settings.QueryBytes > 0 {
		limits = append(limits, byteSize(settings.QueryBytes).String())
	}
	if settings.QueryTime > 0 {
		limits = append(limits, settings.QueryTime.Duration().String())
	}
	return strings.Join(limits, ", ")
}

type queryRows int64

// UnmarshalText parses a number of at most query.MaxRows.
func (r *queryRows) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > query.MaxRows {
		return fmt.Errorf("invalid number %q: want 1 to %d, or 0 for no limit", text, query.MaxRows)
	}
	*r = queryRows(n)
	return nil
}

type queryBytes int64

// UnmarshalText parses a size of at most query.MaxBytes.
func (b *queryBytes) UnmarshalText(text []byte) error {
	var size byteSize
	if string(text) != "0" {
		if err := size.UnmarshalText(text); err != nil || size > query.MaxBytes {
			return fmt.Errorf("invalid size %q: want 1B to %v, or 0 for no limit", text, byteSize(query.MaxBytes))
		}
	}
	*b = queryBytes(size)
	return nil
}

type queryTime control.Milliseconds

// UnmarshalText parses a duration in whole milliseconds of at most query.MaxTimeout.
func (t *queryTime) UnmarshalText(text []byte) error {
	length, err := time.ParseDuration(string(text))
	if err != nil || length < 0 || length > query.MaxTimeout || length%time.Millisecond != 0 {
		return fmt.Errorf("invalid duration %q: want 1ms to %v in whole milliseconds, or 0 for no limit",
			text, query.MaxTimeout)
	}
	*t = queryTime(length.Milliseconds())
	return nil
}
