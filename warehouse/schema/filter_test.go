package schema

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseFilter_Times(t *testing.T) {
	for text, want := range map[string][2]string{ // the bounds of from and of to; empty: invalid
		"2026-04-18":                {"2026-04-18T00:00:00Z", "2026-04-19T00:00:00Z"},
		"2026-04-18T10:00:00Z":      {"2026-04-18T10:00:00Z", "2026-04-18T10:00:00.001Z"},
		"2026-04-18t10:00:00z":      {"2026-04-18T10:00:00Z", "2026-04-18T10:00:00.001Z"},
		"2026-04-18t10:00:00+05:30": {"2026-04-18T04:30:00Z", "2026-04-18T04:30:00.001Z"},
		"2026-04-18T24:00":          {"2026-04-19T00:00:00Z", "2026-04-19T00:00:00.001Z"},
		"2026-04-18T24:00:00Z":      {"2026-04-19T00:00:00Z", "2026-04-19T00:00:00.001Z"},
		"2026-12-31 24:00:00.000Z":  {"2027-01-01T00:00:00Z", "2027-01-01T00:00:00.001Z"},
		"2026-04-18T24:00:00+05:30": {"2026-04-18T18:30:00Z", "2026-04-18T18:30:00.001Z"},
		"2026-04-18T24:01":          {},
		"2026-04-18T24:00:00.001Z":  {},
		"2026-04-18T25:00":          {},
		"0001-01-01":                {"0001-01-01T00:00:00.000001Z", "0001-01-02T00:00:00Z"},
		"0001-01-01T00:00:00+14:00": {"0001-01-01T00:00:00.000001Z", "0001-01-01T00:00:00.000001Z"},
		"9999-12-31":                {"9999-12-31T00:00:00Z", "9999-12-31T23:59:59.999999Z"},
		"9999-12-31T23:59:59-14:00": {"9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"},
		"0000-01-01":                {},
		"10000-01-01":               {},
	} {
		t.Run(text, func(t *testing.T) {
			filter, err := Calls.ParseFilter(func(string) string { return "" }, time.UTC)
			if err != nil || filter != (Filter{}) {
				t.Fatalf("got %v and %v of no parameters", filter, err)
			}
			filter, err = Calls.ParseFilter(func(name string) string {
				if name == "from" || name == "to" {
					return text
				}
				return ""
			}, time.UTC)
			if want[0] == "" {
				if err == nil {
					t.Errorf("got %v, want an error", filter)
				}
				return
			}
			got := [2]string{filter.From.Format(time.RFC3339Nano), filter.Before.Format(time.RFC3339Nano)}
			if err != nil || got != want {
				t.Errorf("got %v and %v, want %v", got, err, want)
			}
		})
	}
}

// Bounds that are computed from accepted bounds are bounds, too: none is the zero time, and each is a time in JSON.
func TestClampBound_ReturnsTimesOfJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-99_000_000_000, 399_000_000_000).Draw(t, "seconds"), 0)
		zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, "offset"))
		bound := ClampBound(at.In(zone))
		if _, err := json.Marshal(bound); err != nil || bound.IsZero() {
			t.Fatalf("got %v of %v: %v", bound, at, err)
		}
	})
}
