package voicory

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// rule allows max requests in any window.
type rule struct {
	max    int
	window time.Duration
}

// documented are the limits of a key; answers say how many requests a minute it really has.
var documented = [...]rule{minute: {60, time.Minute}, burst: {10, 5 * time.Second}}

const (
	minute = iota
	burst
)

// limiter says when the next request may be sent. It serves requests that are made one after the other; others may ask about it.
type limiter struct {
	mu    sync.Mutex
	rules [len(documented)]rule
	off   bool          // the upstream names no limits
	met   bool          // the upstream has told how many requests are left
	past  []time.Time   // when the last requests had surely arrived, oldest first
	ready time.Time     // when the last one could have been sent, but for the limits
	sent  time.Time     // when it was sent, at the earliest
	hold  time.Time     // the upstream asked for silence until then
	work  time.Duration // from one request to the next, of late, without the waiting here
}

func newLimiter() *limiter { return &limiter{rules: documented} }

// take waits until a request may be sent.
func (l *limiter) take(ctx context.Context) error {
	began := time.Now()
	for {
		wait := l.pass(began)
		if wait <= 0 || ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// pass is how long a request that has waited since began still has to; if it has not, it is sent now.
func (l *limiter) pass(began time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := time.Until(l.next())
	if wait <= 0 {
		l.ready, l.sent = began, time.Now()
	}
	return wait
}

// next is the moment from which a request may be sent.
func (l *limiter) next() time.Time {
	at := l.hold
	for _, rule := range l.rules {
		if i := len(l.past) - rule.max; i >= 0 && !l.off {
			// Two clocks never run alike: a thousandth more than the window.
			if free := l.past[i].Add(rule.window + rule.window/1000); free.After(at) {
				at = free
			}
		}
	}
	return at
}

// arrived notes that the request sent last has come in by now.
func (l *limiter) arrived() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if n := len(l.past); n > 0 {
		work := now.Sub(l.sent) + l.ready.Sub(l.past[n-1])
		l.work += (min(work, time.Minute) - l.work) / 16
	}
	l.past = append(l.past, now)
	l.past = l.past[max(0, len(l.past)-max(l.rules[minute].max, l.rules[burst].max)):]
}

// observe takes the limits from an answer: whether there are any, how many requests a minute, and whether somebody else has used
// up the key's. now is the upstream's clock.
func (l *limiter) observe(h http.Header, status int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit, err := strconv.Atoi(h.Get("X-RateLimit-Limit"))
	if err != nil || limit < 1 {
		l.off = l.off || status == http.StatusOK
		return
	}
	l.off = false
	if limit != l.rules[burst].max { // which would be the other limit's
		l.rules[minute].max = limit
	}
	remaining, err := strconv.Atoi(h.Get("X-RateLimit-Remaining"))
	if err != nil {
		return
	}
	if !l.met {
		// Requests of an earlier process, or of others: they may all have come just now.
		l.met = true
		for range l.rules[minute].max - remaining - len(l.past) {
			l.past = append(l.past, l.past[len(l.past)-1])
		}
	}
	if remaining > 0 {
		return
	}
	// With requests of our own alone there can be 0 left only where our own count says so; that count knows better than Reset,
	// which may be the moment when all are free again, when the next one is.
	for _, rule := range l.rules {
		if len(l.past) >= rule.max && l.sent.Sub(l.past[len(l.past)-rule.max]) <= rule.window {
			return
		}
	}
	l.hush(min(until(h.Get("X-RateLimit-Reset"), now), time.Minute))
}

// pace is what a later process has to know of the requests that were made shortly before it began.
type pace struct {
	At    time.Time `json:"at"`    // of the last one
	Count int       `json:"count"` // in the minute up to it
}

func (l *limiter) pace() *pace {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.off || len(l.past) == 0 {
		return nil
	}
	last := l.past[len(l.past)-1]
	p := &pace{At: last.UTC()}
	for _, at := range l.past {
		if last.Sub(at) < l.rules[minute].window {
			p.Count++
		}
	}
	return p
}

// follow keeps the distance to an earlier process: it may have made some requests more than it could tell of, and all of them just
// now. What the key has left beyond that, the first answer says. It returns how long that takes.
func (l *limiter) follow(p pace) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.past) > 0 || time.Since(p.At).Abs() > l.rules[minute].window {
		return 0
	}
	l.hush(l.rules[burst].window + tick)
	if p.Count > l.rules[minute].max/2 {
		l.hush(time.Until(p.At.Add(l.rules[minute].window + tick)))
	}
	return time.Until(l.hold)
}

// silence allows no request before wait is over.
func (l *limiter) silence(wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hush(wait)
}

func (l *limiter) hush(wait time.Duration) {
	if at := time.Now().Add(wait); at.After(l.hold) {
		l.hold = at
	}
}

// until is how long it is from now to a moment in Unix seconds or as an HTTP date; 0 for what is neither.
func until(moment string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseInt(moment, 10, 64); err == nil {
		return max(0, time.Unix(seconds, 0).Sub(now))
	}
	if at, err := http.ParseTime(moment); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}

// duration is how long that many more requests will take.
func (l *limiter) duration(requests int64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if requests == 0 {
		return 0
	}
	longest := time.Duration(requests) * l.work
	for _, rule := range l.rules {
		if l.off {
			break
		}
		// The last of them waits for the one a window before it, and so on down to one that has been made.
		rounds, before := (requests-1)/int64(rule.max), (requests-1)%int64(rule.max)
		wait := time.Duration(rounds) * rule.window
		if i := len(l.past) - rule.max + int(before); i >= 0 {
			wait += max(0, time.Until(l.past[i].Add(rule.window)))
		}
		longest = max(longest, wait)
	}
	return longest
}
