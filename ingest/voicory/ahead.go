package voicory

import (
	"bytes"
	"context"
	"time"
)

// ahead is a request that is made before it is known to be wanted: the next page, while the rows of this one are looked at. Where
// there are limits there is time enough for both, and no request to waste.
type ahead struct {
	address string
	stop    context.CancelFunc
	done    chan struct{}
	answer  answer
	err     error
}

// askAhead makes a request whose answer the next call of answer may want.
func (c *client) askAhead(ctx context.Context, address string) {
	ctx, stop := context.WithCancel(ctx)
	a := &ahead{address: address, stop: stop, done: make(chan struct{})}
	c.ahead = a
	go func() {
		defer close(a.done)
		a.answer, a.err = c.attempt(ctx, address)
	}()
}

// answer is that of the request made ahead, if it was this one, or of one made now.
func (c *client) answer(ctx context.Context, address string) (answer, error) {
	if a := c.ahead; a != nil {
		if a.address == address {
			<-a.done
			c.ahead = nil
			a.stop()
			return a.answer, a.err
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
		if a.err == nil {
			a.answer.free()
		}
		c.ahead = nil
	}
}

// oldestOn guesses from the text of a page with others behind it when its last row was created.
func oldestOn(page []byte) (time.Time, bool) {
	if !bytes.HasPrefix(lastValue(page, `"has_more"`), []byte("true")) {
		return time.Time{}, false
	}
	quoted := bytes.SplitN(lastValue(page, `"created_at"`), []byte(`"`), 3)
	if len(quoted) < 3 {
		return time.Time{}, false
	}
	return parseTime(string(quoted[1]))
}

// lastValue is the text from the last value of the field on.
func lastValue(text []byte, field string) []byte {
	i := bytes.LastIndex(text, []byte(field))
	if i < 0 {
		return nil
	}
	return bytes.TrimLeft(text[i+len(field):], ": \t\r\n")
}
