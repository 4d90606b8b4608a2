package voicory

import (
	"context"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// ahead is a request that is made before it is known to be wanted: the next page, while the rows of this one are looked at. Where
// there are limits there is time enough for both, and no request to waste.
type ahead struct {
	address string
	stop    context.CancelFunc
	done    chan struct{}
	body    gjson.Result
	now     time.Time
	err     error
}

// askAhead makes a request whose answer the next call of answer may want.
func (c *client) askAhead(ctx context.Context, address string) {
	ctx, stop := context.WithCancel(ctx)
	a := &ahead{address: address, stop: stop, done: make(chan struct{})}
	c.ahead = a
	go func() {
		defer close(a.done)
		a.body, a.now, a.err = c.attempt(ctx, address)
	}()
}

// answer is that of the request made ahead, if it was this one, or of one made now.
func (c *client) answer(ctx context.Context, address string) (body gjson.Result, now time.Time, err error) {
	if a := c.ahead; a != nil {
		if a.address == address {
			<-a.done
			c.forget()
			return a.body, a.now, a.err
		}
		c.misses++
		c.forget()
	}
	return c.attempt(ctx, address)
}

// forget ends a request made ahead.
func (c *client) forget() {
	if a := c.ahead; a != nil {
		a.stop()
		<-a.done
		c.ahead = nil
	}
}

// oldestOn guesses from the text of a page with others behind it when its last row was created.
func oldestOn(page string) (time.Time, bool) {
	const field = `"created_at":"`
	i := strings.LastIndex(page, field)
	if i < 0 || !strings.Contains(page[max(i, len(page)-200):], `"has_more":true`) {
		return time.Time{}, false
	}
	text, _, _ := strings.Cut(page[i+len(field):], `"`)
	return parseTime(text)
}
