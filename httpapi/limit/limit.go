package limit

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Rule allows Max requests in any period of the length Window.
type Rule struct {
	Max    int
	Window time.Duration
}

// Rules are checked and counted in one atomic step. The first rule has the longest window; response headers describe
// it.
type Rules []Rule

// UnmarshalText parses rules such as "60/1m,10/5s", or "none". It returns an error if a rule is invalid or the first
// one does not have the longest window.
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
			return fmt.Errorf("invalid rate limit %q (example: 60/1m)", part)
		}
		if len(*rules) > 0 && rule.Window > (*rules)[0].Window {
			return fmt.Errorf("rate limit %q has a longer window than the first one; put the longest window first", part)
		}
		*rules = append(*rules, rule)
	}
	return nil
}

// A Decision is the result for one request and the state after it.
type Decision struct {
	Allowed   bool
	Remaining int           // number of requests that the first rule still allows
	Reset     time.Duration // time until the first rule allows all of its requests again
	Wait      time.Duration // if not allowed: time until a request can be allowed
	Rule      int           // if not allowed: index of the rule with the longest wait
}

// A Limiter decides whether requests are allowed. Each subject has its own windows. It is safe for concurrent use.
type Limiter interface {
	// Take counts one request of subject if all rules allow it, and returns the decision.
	Take(ctx context.Context, subject string, rules Rules) (Decision, error)
}

// A history describes the earlier allowed requests of a subject.
type history struct {
	passed int             // number of requests within the first rule's window
	newest time.Duration   // age of the last request
	nth    []time.Duration // for each rule, age of the Max-th request from the end, or noRequest
}

// noRequest is the age of a request that does not exist. It is longer than any window.
const noRequest = time.Duration(math.MaxInt64)

// decide returns the decision for a request with the given history.
func (rules Rules) decide(h history) Decision {
	d := Decision{Allowed: true, Remaining: max(rules[0].Max-h.passed, 0)}
	if h.passed > 0 {
		d.Reset = rules[0].Window - h.newest
	}
	for i, rule := range rules {
		if h.nth[i] < rule.Window { // the rule allows a request when that request leaves the window
			d.Allowed = false
			if wait := rule.Window - h.nth[i]; wait > d.Wait {
				d.Wait, d.Rule = wait, i
			}
		}
	}
	if d.Allowed {
		d.Remaining--
		d.Reset = rules[0].Window
	}
	return d
}
