package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/warehouse/control"
)

// DefaultRules are the documented rate limits of a key.
var DefaultRules = limit.Rules{{Max: 60, Window: time.Minute}, {Max: 10, Window: 5 * time.Second}}

// DefaultGuessRules are the rate limits of requests with unknown keys from one client address.
var DefaultGuessRules = limit.Rules{{Max: 60, Window: time.Minute}}

// limitRequest counts the request, sets the rate limit headers, and returns a 429 problem if the key is over its limit.
func (a *api) limitRequest(w http.ResponseWriter, r *http.Request, key control.Key) error {
	rules := a.Rules
	if key.RateLimit != "" {
		if err := rules.UnmarshalText([]byte(key.RateLimit)); err != nil {
			return fmt.Errorf("rate limit of key %s: %w", key.ID, err)
		}
	}
	if len(rules) == 0 {
		return nil
	}
	d, err := a.Limiter.Take(r.Context(), key.ID.String(), rules)
	if err != nil {
		return fmt.Errorf("count the request: %w", err)
	}
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(rules[0].Max))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(d.Remaining))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(d.Reset+time.Second-1).Unix(), 10)) // rounded up
	// The fields of the IETF draft "RateLimit header fields for HTTP".
	policies := make([]string, len(rules))
	for i, rule := range rules {
		policies[i] = fmt.Sprintf("\"%d\";q=%d;w=%d", i, rule.Max, seconds(rule.Window))
	}
	h.Set("RateLimit-Policy", strings.Join(policies, ", "))
	h.Set("RateLimit", fmt.Sprintf("\"0\";r=%d;t=%d", d.Remaining, seconds(d.Reset)))
	if d.Allowed {
		return nil
	}
	return &web.Problem{
		Status: http.StatusTooManyRequests, Code: "RATE_LIMIT_EXCEEDED", RetryAfter: max(seconds(d.Wait), 1),
		Message: fmt.Sprintf("Rate limit exceeded. Maximum %d requests per %s.",
			rules[d.Rule].Max, windowName(rules[d.Rule].Window)),
	}
}

// seconds returns d in seconds, rounded up, so that a client that waits this long is admitted.
func seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// windowName returns the window as it appears in the message of a 429 response.
func windowName(window time.Duration) string {
	switch {
	case window == time.Minute:
		return "minute"
	case window%time.Second == 0 && window < time.Minute:
		return fmt.Sprintf("%d seconds", window/time.Second)
	}
	return window.String()
}
