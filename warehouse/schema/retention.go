package schema

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Retention is how long a tenant keeps the rows of a dataset, by created_at. Datasets that are missing are kept
// without a limit.
type Retention map[string]Period

// A Period is a number of calendar months or days.
type Period struct{ Months, Days int }

// maxPeriod is the maximum number of a period's unit.
const maxPeriod = 1200

// UnmarshalText parses a number of days, months or years: 90d, 24mo, 2y.
func (p *Period) UnmarshalText(text []byte) error {
	for _, unit := range []struct {
		suffix string
		period Period
	}{{"mo", Period{Months: 1}}, {"d", Period{Days: 1}}, {"y", Period{Months: 12}}} {
		number, ok := strings.CutSuffix(string(text), unit.suffix)
		if n, err := strconv.Atoi(number); ok && err == nil && n > 0 && n <= maxPeriod {
			*p = Period{n * unit.period.Months, n * unit.period.Days}
			return nil
		}
	}
	return fmt.Errorf("%w: period %q (examples: 90d, 24mo, 2y; at most %d)", ErrInvalid, text, maxPeriod)
}

// String returns the period as UnmarshalText parses it.
func (p Period) String() string {
	if p.Months > 0 {
		return strconv.Itoa(p.Months) + "mo"
	}
	return strconv.Itoa(p.Days) + "d"
}

// UnmarshalText parses a list such as calls=24mo,messages=90d. none is the retention without limits.
func (r *Retention) UnmarshalText(text []byte) error {
	*r = Retention{}
	if string(text) == "none" {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		name, period, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return fmt.Errorf("%w: retention %q (example: calls=24mo,messages=12mo, or none)", ErrInvalid, text)
		}
		dataset, err := DatasetNamed(name)
		if err != nil {
			return err
		}
		var p Period
		if err := p.UnmarshalText([]byte(period)); err != nil {
			return err
		}
		(*r)[dataset.Name] = p
	}
	return nil
}

// String returns the retention as UnmarshalText parses it.
func (r Retention) String() string {
	parts := []string{}
	for _, name := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, name+"="+r[name].String())
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ",")
}

// MarshalText returns the retention as UnmarshalText parses it.
func (r Retention) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Expired returns the SQL condition of the rows of a dataset that are older than the retention allows.
func (r Retention) Expired(dataset Dataset, now time.Time) string {
	period, limited := r[dataset.Name]
	if !limited {
		return "false"
	}
	before := now.UTC().AddDate(0, -period.Months, -period.Days)
	return fmt.Sprintf("coalesce(created_at < '%s'::TIMESTAMPTZ, false)", before.Format(time.RFC3339Nano))
}
