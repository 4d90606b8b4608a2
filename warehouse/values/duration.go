package values

import (
	"regexp"
	"strconv"
	"strings"
)

// A durationForm is a spelling of a duration. Each group of the expression is a number of a unit, in seconds. A group
// of a sign alone applies to the groups after it.
type durationForm struct {
	expression *regexp.Regexp
	units      []float64
}

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	month  = 30 * day // as PostgreSQL and DuckDB count months without a date
	year   = 365 * day
	sign   = 0
)

var durationForms = []durationForm{
	// 1h 2m 3.5s, 2 min 18 sec and 1 hour, 2 minutes
	{regexp.MustCompile(`^([+-]?)(?:([\d.]+)\s*d(?:ays?)?)?,?\s*(?:([\d.]+)\s*h(?:(?:ou)?rs?)?)?,?\s*` +
		`(?:([\d.]+)\s*m(?:in(?:ute)?s?)?)?,?\s*(?:([\d.]+)\s*s(?:ec(?:ond)?s?)?)?$`), []float64{sign, day, hour, minute, 1}},
	// PT1M7.5S, the form of ISO 8601
	{regexp.MustCompile(`^([+-]?)p(?:([\d.]+)y)?(?:([\d.]+)m)?(?:([\d.]+)w)?(?:([\d.]+)d)?` +
		`(?:t(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?)?$`), []float64{sign, year, month, 7 * day, day, hour, minute, 1}},
	// 02:18, 1:02:03.5 and -1 days +00:01:07, the form of Python, and with years and months that of PostgreSQL and DuckDB
	{regexp.MustCompile(`^(?:(-?\d+) years?\s*)?(?:(-?\d+) mon(?:th)?s?\s*)?(?:(-?\d+)\s+days?,?\s*)?` +
		`(?:([+-]?)(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d*)?))?$`), []float64{year, month, day, sign, hour, minute, 1}},
}

// ParseDuration returns the seconds of a duration: a number of seconds, or a text such as 2m 18s, 02:18, 1:02:03,
// PT2M18S or 0 days 00:02:18.
func ParseDuration(text string) (seconds float64, ok bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	if text == "" || len(text) > maxTime {
		return 0, false
	}
	if epochForm.MatchString(text) {
		seconds, err := strconv.ParseFloat(text, 64)
		return seconds, err == nil
	}
	for _, form := range durationForms {
		if m := form.expression.FindStringSubmatch(text); m != nil && strings.Trim(strings.Join(m[1:], ""), "+-") != "" {
			return form.seconds(m[1:])
		}
	}
	return 0, false
}

// seconds returns the sum of the groups of a match.
func (f durationForm) seconds(groups []string) (seconds float64, ok bool) {
	factor := 1.0
	for i, group := range groups {
		switch {
		case f.units[i] == sign && group == "-":
			factor = -1
		case f.units[i] != sign && group != "":
			count, err := strconv.ParseFloat(group, 64)
			if err != nil {
				return 0, false
			}
			seconds += factor * count * f.units[i]
		}
	}
	return seconds, true
}
