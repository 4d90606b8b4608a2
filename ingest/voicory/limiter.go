package voicory

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// A rule allows max requests in any period of the given length.
type rule struct {
	max    int
	window time.Duration
}

// documented holds the documented limits of a key. Response headers may state another number of requests per minute.
var documented = [...]rule{minute: {60, time.Minute}, burst: {10, 5 * time.Second}}

const (
	minute = iota
	burst
)

// A limiter delays requests to keep within the limits of the key. Requests must be made one after the other; other
// goroutines may call duration and snapshot. All fields are guarded by mu.
type limiter struct {
	mu          sync.Mutex
	rules       [len(documented)]rule
	unlimited   bool          // responses have no rate limit headers
	observed    bool          // a response has stated how many requests are left
	arrivals    []time.Time   // latest arrival times of the last requests, oldest first
	readyAt     time.Time     // time at which the last request was ready, before the delay
	sentAt      time.Time     // earliest time at which the last request was sent
	pausedUntil time.Time     // no request may be sent before
	interval    time.Duration // moving average of the time between two requests, without the delay
}

func newLimiter() *limiter { return &limiter{rules: documented} }

// wait blocks until a request may be sent, and records it as sent. It returns the error of ctx if that ends first.
func (l *limiter) wait(ctx context.Context) error {
	began := time.Now()
	for {
		wait := l.trySend(began)
		if wait <= 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// trySend returns the remaining delay of a request that has waited since began. If it is 0 or less, the request is
// recorded as sent now.
func (l *limiter) trySend(began time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.earliest())
	if wait <= 0 {
		l.readyAt, l.sentAt = began, time.Now()
	}
	return wait
}

// earliest returns the earliest time at which the next request may be sent. The caller must hold mu.
func (l *limiter) earliest() time.Time {
	at := l.pausedUntil
	for _, rule := range l.rules {
		if i := len(l.arrivals) - rule.max; i >= 0 && !l.unlimited {
			// Clocks run at slightly different speeds, so wait 0.1 % longer than the window.
			if free := l.arrivals[i].Add(rule.window + rule.window/1000); free.After(at) {
				at = free
			}
		}
	}
	return at
}

// arrived records that the request sent last has arrived at the API by now.
func (l *limiter) arrived() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if n := len(l.arrivals); n > 0 {
		work := now.Sub(l.sentAt) + l.readyAt.Sub(l.arrivals[n-1])
		l.interval += (min(work, time.Minute) - l.interval) / 16
	}
	l.arrivals = append(l.arrivals, now)
	l.arrivals = l.arrivals[max(0, len(l.arrivals)-max(l.rules[minute].max, l.rules[burst].max)):]
}

// observe updates the limits from the headers of a response: whether there are limits, the number of requests per
// minute, and whether other clients have used up the limit of the key. now is the time by the API's clock.
func (l *limiter) observe(h http.Header, status int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit, err := strconv.Atoi(h.Get("X-RateLimit-Limit"))
	if err != nil || limit < 1 {
		l.unlimited = l.unlimited || status == http.StatusOK
		return
	}
	l.unlimited = false
	if limit != l.rules[burst].max { // otherwise the header is about the burst limit
		l.rules[minute].max = limit
	}
	remaining, err := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	if err != nil {
		return
	}
	if !l.observed {
		// The API has counted requests of an earlier process or of other clients. All of them may have arrived just now.
		l.observed = true
		for range l.rules[minute].max - remaining - len(l.arrivals) {
			l.arrivals = append(l.arrivals, l.arrivals[len(l.arrivals)-1])
		}
	}
	if remaining > 0 {
		return
	}
	// If this client's own requests use up a limit, its own count is more exact than X-RateLimit-Reset. That header may
	// hold the time at which all requests are available again, instead of the next one. Otherwise other clients used the
	// key.
	for _, rule := range l.rules {
		if len(l.arrivals) >= rule.max && l.sentAt.Sub(l.arrivals[len(l.arrivals)-rule.max]) <= rule.window {
			return
		}
	}
	l.extendPause(min(timeUntil(h.Get("X-RateLimit-Reset"), now), time.Minute))
}

// A paceState describes recent requests to a process that starts shortly after them.
type paceState struct {
	At    time.Time `json:"at"`    // time of the last request
	Count int       `json:"count"` // number of requests in the minute before At
}

// snapshot returns the current pace, or nil if the API has no limits or no request was made.
func (l *limiter) snapshot() *paceState {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlimited || len(l.arrivals) == 0 {
		return nil
	}
	last := l.arrivals[len(l.arrivals)-1]
	p := &paceState{At: last.UTC()}
	for _, at := range l.arrivals {
		if last.Sub(at) < l.rules[minute].window {
			p.Count++
		}
	}
	return p
}

// resume pauses requests after those of an earlier process, and returns the remaining pause. It assumes that the
// earlier process has just used its whole burst and, if p counts more than half of the requests per minute, all of
// them. The first response reports how many requests are left after that.
func (l *limiter) resume(p paceState) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.arrivals) > 0 || time.Since(p.At).Abs() > l.rules[minute].window {
		return 0
	}
	l.extendPause(l.rules[burst].window + timeResolution)
	if p.Count > l.rules[minute].max/2 {
		l.extendPause(time.Until(p.At.Add(l.rules[minute].window + timeResolution)))
	}
	return time.Until(l.pausedUntil)
}

// pauseFor delays all requests until wait has passed.
func (l *limiter) pauseFor(wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.extendPause(wait)
}

// extendPause is pauseFor for callers that hold mu.
func (l *limiter) extendPause(wait time.Duration) {
	if at := time.Now().Add(wait); at.After(l.pausedUntil) {
		l.pausedUntil = at
	}
}

// timeUntil returns the time from now to a time in Unix seconds or as an HTTP date. It returns 0 if text is neither or
// is in the past.
func timeUntil(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return max(0, time.Unix(seconds, 0).Sub(now))
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// duration returns an estimate of the time that the given number of further requests takes.
func (l *limiter) duration(requests int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if requests == 0 {
		return 0
	}
	longest := time.Duration(requests) * l.interval
	for _, rule := range l.rules {
		if l.unlimited {
			break
		}
		// The last of the requests waits for a request one window before it, which waits for another one, and so on. The
		// first request of this chain has been made already.
		rounds, before := (requests-1)/int64(rule.max), (requests-1)%int64(rule.max)
		wait := time.Duration(rounds) * rule.window
		if i := len(l.arrivals) - rule.max + int(before); i >= 0 {
			wait += max(0, time.Until(l.arrivals[i].Add(rule.window)))
		}
		longest = max(longest, wait)
	}
	return longest
}
