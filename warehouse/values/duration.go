package values

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	// unitsForm matches 1h 2m 3.5s, 2 min 18 sec and 1 hour, 2 minutes.
	unitsForm = regexp.MustCompile(`^(?:([\d.]+)\s*d(?:ays?)?)?,?\s*(?:([\d.]+)\s*h(?:(?:ou)?rs?)?)?,?\s*` +
		`(?:([\d.]+)\s*m(?:in(?:ute)?s?)?)?,?\s*(?:([\d.]+)\s*s(?:ec(?:ond)?s?)?)?$`)
	// isoForm matches PT1M7.5S, the form of ISO 8601.
	isoForm = regexp.MustCompile(`^p(?:([\d.]+)d)?(?:t(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?)?$`)
	// clockForm matches 02:18, 1:02:03.5 and 0 days 00:01:07, the form of Python.
	clockForm = regexp.MustCompile(`^(?:(\d+)\s+days?,?\s+)?(?:(\d+):)?(\d{1,2}):(\d{2}(?:\.\d*)?)$`)
)

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
	for _, form := range []*regexp.Regexp{unitsForm, isoForm, clockForm} {
		m := form.FindStringSubmatch(text)
		if m == nil || strings.Join(m[1:], "") == "" {
			continue
		}
		for i, unit := range []float64{24 * 3600, 3600, 60, 1} {
			if m[i+1] == "" {
				continue
			}
			count, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return 0, false
			}
			seconds += count * unit
		}
		return seconds, true
	}
	return 0, false
}
