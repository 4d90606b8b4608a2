package values

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones, if the system has no database of them
)

// OutOfRange is the result for a time that no column can hold: before 1970, after 9999, infinite, the zero of a
// program, or a number too small to be an epoch time.
const OutOfRange = math.MaxInt64

const (
	perSecond = int64(time.Second / time.Microsecond)
	endMicros = 253_402_300_800 * perSecond // 10000-01-01 00:00:00 UTC
	maxOffset = 18 * 3600                   // seconds
	maxTime   = 100                         // bytes of a text that may be a time
)

// ParseTime returns a time in microseconds since 1970 UTC, or [OutOfRange]. ok is false if text is not a time. The
// accepted forms are:
//   - ISO 8601 and RFC 3339, also in lower case and with a space for the T: 2026-03-01T10:00:00.123Z. Seconds may be
//     absent, or 60, which is the next minute. 24:00 is the end of the day. Decimals are cut to microseconds. The basic
//     form (20260301T100000Z) and a date alone are accepted.
//   - RFC 2822, and the texts of dates in JavaScript, C and Java: Sun, 01 Mar 2026 10:00:00 +0530.
//   - Epoch times in seconds, milliseconds, microseconds or nanoseconds. The magnitude decides on the unit.
//
// A time without a zone is in UTC. A zone is an offset of at most 18:00, or a name of the IANA database
// (America/New_York). Of a local time that occurs twice, the first is meant. A local time that daylight saving skips is
// moved by the length of the gap. Abbreviations of zones have several meanings and are not times, except UTC, GMT
// and those of North America in RFC 2822, which defines them.
func ParseTime(text string) (micros int64, ok bool) {
	text = strings.TrimSpace(text)
	if text == "" || len(text) > maxTime {
		return 0, false
	}
	if epochForm.MatchString(text) {
		return parseEpoch(text)
	}
	if micros, ok := parseISO(text); ok {
		return micros, true
	}
	if m := rfc2822Form.FindStringSubmatch(text); m != nil {
		return parseNamed(m[3], m[2], m[1], m[4], m[5])
	}
	if m := dateStringForm.FindStringSubmatch(text); m != nil {
		return parseNamed(m[3]+m[6], m[1], m[2], m[4], m[5])
	}
	return OutOfRange, endless[strings.ToLower(text)]
}

var (
	epochForm = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$`)
	// rfc2822Form matches "Sun, 01 Mar 2026 10:00:00 +0530 (IST)": day, month, year, clock, zone.
	rfc2822Form = regexp.MustCompile(`(?i)^(?:[a-z]{3,9}\.?,?\s+)?(\d{1,2})[\s-]+([a-z]{3,9})\.?[\s-]+(\d{4})` +
		`(?:,?\s+([\d:.]+)\s*([a-z]*(?:[+-][\d:]+)?))?(?:\s+\([^)]*\))?$`)
	// dateStringForm matches "Sun Mar 01 2026 10:00:00 GMT+0530 (IST)" and "Sun Mar  1 10:00:00 UTC 2026": month, day,
	// year, clock, zone, year at the end.
	dateStringForm = regexp.MustCompile(`(?i)^(?:[a-z]{3,9},?\s+)?([a-z]{3,9})\s+(\d{1,2}),?(?:\s+(\d{4}))?` +
		`\s+([\d:.]+)\s*([a-z]*(?:[+-][\d:]+)?)(?:\s+(\d{4}))?(?:\s+\([^)]*\))?$`)
	// endless holds the texts for times without bounds, and for the missing time of pandas.
	endless = map[string]bool{"infinity": true, "-infinity": true, "+infinity": true, "inf": true, "-inf": true,
		"+inf": true, "nan": true, "nat": true, "-nan": true}
)

// parseEpoch reads a number. Its integer part has up to 11 digits in seconds, 14 in milliseconds, 17 in microseconds
// and 19 in nanoseconds. Eight digits that are a date, and 14 that are a date and a clock, are in the basic form.
func parseEpoch(text string) (micros int64, ok bool) {
	whole, fraction, _ := strings.Cut(PlainNumber(text), ".")
	if whole == text && (len(text) == 8 || len(text) == 14) && (text[:2] == "19" || text[:2] == "20") {
		if micros, ok := parseISO(text[:8] + "T" + text[8:]); ok {
			return micros, true
		}
	}
	whole = strings.TrimLeft(strings.TrimPrefix(whole, "+"), "0")
	const leastSeconds = 9 // digits, from 1973 on; a smaller number has another meaning
	if len(whole) < leastSeconds || len(whole) > 19 || whole[0] == '-' {
		return OutOfRange, true
	}
	digits := whole + (fraction + "000000")[:6] // in millionths of the unit
	cut := 0
	switch {
	case len(whole) > 17:
		cut = 9
	case len(whole) > 14:
		cut = 6
	case len(whole) > 11:
		cut = 3
	}
	micros, err := strconv.ParseInt(digits[:len(digits)-cut], 10, 64)
	if err != nil {
		return OutOfRange, true
	}
	return inRange(micros), true
}

// inRange returns micros, or OutOfRange if no column can hold it.
func inRange(micros int64) int64 {
	if micros < 0 || micros >= endMicros {
		return OutOfRange
	}
	return micros
}

// A civil is a date and a clock without a zone.
type civil struct {
	year, month, day     int
	hour, minute, second int
	micros               int
}

// utc returns the seconds since 1970 if the zone is UTC. ok is false if the date or the clock does not exist.
func (c civil) utc() (seconds int64, ok bool) {
	midnight := time.Date(c.year, time.Month(c.month), c.day, 0, 0, 0, 0, time.UTC)
	if c.month < 1 || c.month > 12 || c.day < 1 || midnight.Day() != c.day || c.minute > 59 || c.second > 60 {
		return 0, false
	}
	if c.hour > 24 || c.hour == 24 && c.minute+c.second+c.micros > 0 {
		return 0, false
	}
	return midnight.Unix() + int64(c.hour*3600+c.minute*60+c.second), true
}

// at returns the time of the date and clock in a zone: an offset, the name of a zone, or "" for UTC.
func (c civil) at(zone string) (micros int64, ok bool) {
	if c.year == 0 && c.month == 0 && c.day == 0 { // the missing date of MySQL
		return OutOfRange, true
	}
	seconds, ok := c.utc()
	if !ok {
		return 0, false
	}
	if c.year > 9999 {
		return OutOfRange, true
	}
	offset, ok := parseOffset(zone)
	if !ok {
		location, known := namedZone(zone)
		if !known {
			return 0, false
		}
		offset = offsetOf(seconds, location)
	}
	return inRange((seconds-int64(offset))*perSecond + int64(c.micros)), true
}

// offsetOf returns the offset of a zone in seconds at a local time, which is given as if it were UTC.
func offsetOf(local int64, location *time.Location) int {
	const day = 24 * 3600 // offsets change at most once in two days
	offset := func(seconds int64) int {
		_, offset := time.Unix(seconds, 0).In(location).Zone()
		return offset
	}
	before, after := offset(local-day), offset(local+day)
	if offset(local-int64(before)) != before && offset(local-int64(after)) == after {
		return after
	}
	return before // also for a local time that occurs twice, or that is skipped
}

// zones caches the locations of zone names. Only names of existing zones are stored, so it is bounded.
var zones sync.Map

// namedZone returns the location with a name of the IANA database, such as America/New_York. Names without a slash
// are not accepted, because most are abbreviations.
func namedZone(name string) (*time.Location, bool) {
	if !strings.Contains(name, "/") {
		return nil, false
	}
	if location, ok := zones.Load(name); ok {
		return location.(*time.Location), true
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		return nil, false
	}
	zones.Store(name, location)
	return location, true
}

// offsetForm matches an offset: hours, minutes, seconds. U+2212 is the minus sign of ISO 8601.
var offsetForm = regexp.MustCompile(`^(?i:utc|gmt|ut)?([+\-−])(\d{1,2}):?(?:(\d\d):?(\d\d)?)?$`)

// parseOffset returns the seconds of an offset from UTC, such as +05:30, Z or GMT+0530.
func parseOffset(text string) (seconds int, ok bool) {
	switch strings.ToUpper(text) {
	case "", "Z", "UTC", "GMT", "UT":
		return 0, true
	}
	m := offsetForm.FindStringSubmatch(text)
	if m == nil || strings.HasSuffix(text, ":") {
		return 0, false
	}
	hours, minutes, rest := number(m[2]), number(m[3]), number(m[4])
	seconds = hours*3600 + minutes*60 + rest
	if minutes > 59 || rest > 59 || seconds > maxOffset {
		return 0, false
	}
	if m[1] != "+" {
		seconds = -seconds
	}
	return seconds, true
}

// number returns the value of at most nine digits, and 0 for none.
func number(digits string) int {
	n, _ := strconv.Atoi(digits) // cannot fail for digits
	return n
}

// A scanner reads a text from its start.
type scanner struct{ rest string }

// digits reads between least and most digits.
func (s *scanner) digits(least, most int) (n int, ok bool) {
	end := 0
	for end < len(s.rest) && end < most && s.rest[end] >= '0' && s.rest[end] <= '9' {
		end++
	}
	n = number(s.rest[:end])
	ok = end >= least
	if ok {
		s.rest = s.rest[end:]
	}
	return n, ok
}

// skip reads one of the bytes and reports whether there is one.
func (s *scanner) skip(bytes string) bool {
	if s.rest == "" || strings.IndexByte(bytes, s.rest[0]) < 0 {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// parseISO reads a date with an optional clock and zone.
func parseISO(text string) (micros int64, ok bool) {
	s := scanner{text}
	var c civil
	signed := s.skip("+-")
	start := s.rest
	if c.year, ok = s.digits(4, 9); !ok {
		return 0, false
	}
	if s.rest == "" || s.rest[0] == 'T' || s.rest[0] == 't' { // the basic form
		s.rest = start
		c.year, _ = s.digits(4, 4)
		if c.month, ok = s.digits(2, 2); ok {
			c.day, ok = s.digits(2, 2)
		}
	} else {
		separator := s.rest[:1]
		if s.skip("-/") {
			if c.month, ok = s.digits(1, 2); ok && s.skip(separator) {
				c.day, ok = s.digits(1, 2)
			}
		}
	}
	if !ok || c.day == 0 && c.year+c.month > 0 {
		return 0, false
	}
	if signed {
		c.year = 99_999 // a year with a sign is before 0 or after 9999
	}
	if strings.EqualFold(strings.TrimSpace(s.rest), "BC") || strings.TrimSpace(s.rest) == "(BC)" {
		return OutOfRange, true
	}
	hasClock := s.skip("Tt ")
	s.rest = strings.TrimLeft(s.rest, " ")
	if hasClock && s.rest != "" && s.rest[0] >= '0' && s.rest[0] <= '9' && !c.readClock(&s) {
		return 0, false
	}
	zone := strings.TrimSpace(s.rest)
	if open := strings.IndexByte(zone, '['); open >= 0 { // RFC 9557: an offset, and the name of its zone in brackets
		name, closed := strings.CutSuffix(zone[open+1:], "]")
		if !closed {
			return 0, false
		}
		if zone = strings.TrimSpace(zone[:open]); zone == "" {
			zone = name
		}
	}
	if offset, name, two := strings.Cut(zone, " "); two && abbreviationForm.MatchString(name) {
		zone = offset // Go and Ruby write "+0530 IST"
		if _, named := namedZone(zone); named || !strings.ContainsAny(zone, "+-") {
			return 0, false
		}
	}
	return c.at(zone)
}

var abbreviationForm = regexp.MustCompile(`^[A-Z]{1,5}$|^[+-]\d{2,4}$`)

// readClock reads hours, and optional minutes, seconds and decimals, with or without colons.
func (c *civil) readClock(s *scanner) (ok bool) {
	if c.hour, ok = s.digits(1, 2); !ok {
		return false
	}
	colon := s.skip(":")
	if c.minute, ok = s.digits(2, 2); !ok {
		return !colon
	}
	if colon != s.skip(":") {
		return colon // the clock ends with the minutes
	}
	if c.second, ok = s.digits(2, 2); !ok {
		return !colon
	}
	if s.skip(".,") {
		end := len(s.rest) - len(strings.TrimLeft(s.rest, "0123456789"))
		c.micros = number((s.rest[:end] + "000000")[:6])
		s.rest = s.rest[end:]
	}
	return true
}

// months are the English names of months. Their first three letters suffice.
var months = []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
	"november", "december"}

// parseNamed returns the time of a date whose month is a name. The zone may be one of RFC 2822.
func parseNamed(year, month, day, clock, zone string) (micros int64, ok bool) {
	c := civil{year: number(year), day: number(day)}
	for i, name := range months {
		if strings.HasPrefix(name, strings.ToLower(month)) || strings.EqualFold(month, "sept") && i == 8 {
			c.month = i + 1
		}
	}
	if len(year) != 4 || c.month == 0 {
		return 0, false
	}
	s := scanner{clock}
	if clock != "" && (!strings.Contains(clock, ":") || !c.readClock(&s) || s.rest != "") {
		return 0, false
	}
	if hours, ok := northAmerica[strings.ToUpper(zone)]; ok {
		zone = "-" + strconv.Itoa(hours)
	}
	return c.at(zone)
}

// northAmerica holds the zones that RFC 2822 defines, in hours behind UTC.
var northAmerica = map[string]int{"EDT": 4, "EST": 5, "CDT": 5, "CST": 6, "MDT": 6, "MST": 7, "PDT": 7, "PST": 8}
