package httpapi

import "time"

// timestamp is a time in the format of the API.
type timestamp time.Time

func (t timestamp) String() string { return time.Time(t).UTC().Format("2006-01-02T15:04:05.000Z") }

// MarshalJSON returns the time as a string in UTC, with milliseconds.
func (t timestamp) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// ptr returns a pointer to value, or nil, which is null in JSON, if valid is false.
func ptr[T any](value T, valid bool) *T {
	if !valid {
		return nil
	}
	return &value
}
