package limit

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Rule allows Max requests in any stretch of time of length Window.
type Rule struct {
	Max    int
	Window time.Duration
}

// Rules are checked together and counted in one step. The first is the one that clients are told of; it has the longest
// window.
type Rules []Rule

// UnmarshalText reads rules as they are written in settings, 60/1m,10/5s; none is the word for no rules.
func (rules *Rules) UnmarshalText(text []byte) error {
	*rules = nil
	if string(text) == "none" {
		return nil
	}
	for part := range strings.SplitSeq(string(text), ",") {
		number, window, _ := strings.Cut(strings.TrimSpace(part), "/")
		rule := Rule{}
		var errNumber, errWindow error
		rule.Max, errNumber = strconv.Atoi(number)
		rule.Window, errWindow = time.ParseDuration(window)
		if errNumber != nil || errWindow != nil || rule.Max < 1 || rule.Window < time.Millisecond {
			return fmt.Errorf("%q is no rule; 60/1m is one", part)
		}
		if len(*rules) > 0 && rule.Window > (*rules)[0].Window {
			return fmt.Errorf("%q has a longer window than the rule before; the longest comes first", part)
		}
		*rules = append(*rules, rule)
	}
	return nil
}

// Decision says whether a request may pass, and how things stand after it.
type Decision struct {
	Allowed   bool
	Remaining int           // requests that the first rule has left
	Reset     time.Duration // until the first rule has all of its requests again
	Wait      time.Duration // until a request would pass, where this one may not: never too short
}

// Limiter decides. Requests of the same subject share their windows, at the same time too; subjects share nothing.
type Limiter interface {
	// Take counts one request of subject if all rules allow it.
	Take(ctx context.Context, subject string, rules Rules) (Decision, error)
}

// decide looks at the times of the requests that have passed, oldest first, as ages: how long ago each was.
func (rules Rules) decide(ages []time.Duration) Decision {
	d := Decision{Allowed: true}
	for i, rule := range rules {
		within := ages
		for len(within) > 0 && within[0] >= rule.Window {
			within = within[1:]
		}
		if len(within) >= rule.Max {
			d.Allowed = false
			// A place is free once all but Max-1 have left the window.
			d.Wait = max(d.Wait, rule.Window-within[len(within)-rule.Max])
		}
		if i == 0 {
			d.Remaining = max(rule.Max-len(within), 0)
			if len(within) > 0 {
				d.Reset = rule.Window - within[len(within)-1]
			}
		}
	}
	if d.Allowed {
		d.Remaining--
		d.Reset = rules[0].Window
	}
	return d
}
