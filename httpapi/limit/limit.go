package limit

import (
	"context"
	"fmt"
	"math"
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

// standing is how a subject stands before a request: what is needed of the requests that have passed.
type standing struct {
	passed int             // within the first rule's window
	newest time.Duration   // how long ago the last of them was
	nth    []time.Duration // for each rule, how long ago the Max-th from the end was; none: as long ago as one likes
}

// longAgo is longer ago than any window reaches.
const longAgo = time.Duration(math.MaxInt64)

func (rules Rules) decide(s standing) Decision {
	d := Decision{Allowed: true, Remaining: max(rules[0].Max-s.passed, 0)}
	if s.passed > 0 {
		d.Reset = rules[0].Window - s.newest
	}
	for i, rule := range rules {
		if s.nth[i] < rule.Window { // a place is free once that one has left the window
			d.Allowed = false
			d.Wait = max(d.Wait, rule.Window-s.nth[i])
		}
	}
	if d.Allowed {
		d.Remaining--
		d.Reset = rules[0].Window
	}
	return d
}
