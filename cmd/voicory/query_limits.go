package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/warehouse"
)

// queryLimits are the flags of what SQL that a key asks may take. What is not given stays as it is, and 0 is as much as the server allows.
type queryLimits struct {
	QueryRows  *queryRows  `help:"The most rows that a result of the secret key's SQL has; 0 takes it back." placeholder:"N"`
	QueryBytes *queryBytes `help:"Maximum size of a result of the secret key's SQL, in bytes of its format, such as 10MB; 0 removes the limit." placeholder:"SIZE"`
	QueryTime  *queryTime  `help:"The longest that SQL of the secret key takes, as 5s; 0 takes it back." placeholder:"TIME"`
}

func (q *queryLimits) apply(settings *warehouse.KeySettings) {
	if q.QueryRows != nil {
		settings.QueryRows = int64(*q.QueryRows)
	}
	if q.QueryBytes != nil {
		settings.QueryBytes = int64(*q.QueryBytes)
	}
	if q.QueryTime != nil {
		settings.QueryTime = warehouse.Milliseconds(*q.QueryTime)
	}
}

// printLimits is what SQL of a key is limited to, as 1000 rows, 10MB, 5s; "": to what the server allows.
func queryLimitsText(settings warehouse.KeySettings) string {
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

// UnmarshalText takes a number, up to what the server allows.
func (r *queryRows) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > query.MaxRows {
		return fmt.Errorf("%q is neither a number from 1 to %d nor 0", text, query.MaxRows)
	}
	*r = queryRows(n)
	return nil
}

type queryBytes int64

// UnmarshalText takes a size, up to what the server allows.
func (b *queryBytes) UnmarshalText(text []byte) error {
	var size byteSize
	if string(text) != "0" {
		if err := size.UnmarshalText(text); err != nil || size > query.MaxBytes {
			return fmt.Errorf("%q is neither a size from 1B to %v nor 0", text, byteSize(query.MaxBytes))
		}
	}
	*b = queryBytes(size)
	return nil
}

type queryTime warehouse.Milliseconds

// UnmarshalText takes a length of time in whole milliseconds, up to what the server allows.
func (t *queryTime) UnmarshalText(text []byte) error {
	length, err := time.ParseDuration(string(text))
	if err != nil || length < 0 || length > query.MaxTimeout || length%time.Millisecond != 0 {
		return fmt.Errorf("%q is neither a time from 1ms to %v nor 0", text, query.MaxTimeout)
	}
	*t = queryTime(length.Milliseconds())
	return nil
}
