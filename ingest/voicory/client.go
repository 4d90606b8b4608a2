package voicory

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/tidwall/gjson"

	"github.com/voicory/warehouse/warehouse"
)

// ErrUpstream is the kind of errors that are the upstream's or the network's: the same pull may well succeed later.
var ErrUpstream = errors.New("the Voicory API cannot be used now")

// errGone is that a row is not there (any more).
var errGone = errors.New("no such row")

const (
	attemptTimeout = time.Minute      // one request, its answer read
	patience       = 5 * time.Minute  // one request, with all its attempts
	longestSilence = 15 * time.Minute // that is waited for when an answer asks for it
	maxBody        = 256 << 20        // bytes of an answer
)

// client is asked for one thing at a time.
type client struct {
	base    string // without a slash at its end
	key     string
	http    *http.Client
	limiter *limiter
	log     *slog.Logger
	proven  bool // the base URL has answered as the API does
}

// get asks until it has an answer that read accepts, or it is clear that there will be none: ErrInvalid is for whoever set up the
// source, ErrUpstream for later, errGone the API's word that there is no such row. What read refuses is asked for again.
func get[T any](ctx context.Context, c *client, path string, read func(answer) (T, error)) (value T, err error) {
	tries, began := 0, time.Now()
	value, err = backoff.Retry(ctx, func() (value T, err error) {
		tries++
		a, err := c.attempt(ctx, path)
		if err == nil {
			value, err = read(a)
			a.free()
		}
		if errors.Is(err, errWebPage) && !c.proven && tries == 3 {
			err = backoff.Permanent(c.wrongBase("a web page"))
		}
		return value, err
	}, backoff.WithMaxElapsedTime(patience), backoff.WithNotify(func(err error, wait time.Duration) {
		c.log.LogAttrs(ctx, slog.LevelWarn, "ask the Voicory API again", slog.String("request", path), slog.Any("after", err), slog.Duration("wait", wait))
	}))
	switch {
	case err == nil:
		c.proven = true
		return value, nil
	case ctx.Err() != nil:
		return value, ctx.Err()
	case errors.Is(err, warehouse.ErrInvalid), errors.Is(err, errGone):
		return value, err
	}
	return value, fmt.Errorf("%w: GET %s: %w, after %d tries in %s; what was read is kept, and the same command goes on from there",
		ErrUpstream, c.base+path, err, tries, time.Since(began).Round(time.Second))
}

// attempt makes one request within the limits.
func (c *client) attempt(ctx context.Context, path string) (a answer, err error) {
	if err := c.limiter.take(ctx); err != nil {
		return a, err
	}
	within, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	sent := 0
	within = httptrace.WithClientTrace(within, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		// When a kept connection breaks, the transport sends again by itself: that counts, too.
		if sent++; sent > 1 {
			c.limiter.arrived()
			_ = c.limiter.take(within) // the request ends with its context
		}
	}})
	request, err := http.NewRequestWithContext(within, http.MethodGet, c.base+path, nil)
	if err != nil {
		return a, backoff.Permanent(fmt.Errorf("%w: %w", warehouse.ErrInvalid, err))
	}
	request.Header.Set("X-Api-Key", c.key)
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "voicory-warehouse")
	response, err := c.http.Do(request)
	c.limiter.arrived()
	if err != nil {
		return a, c.broken(err)
	}
	defer response.Body.Close()
	a.now, err = http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		a.now = time.Now().UTC()
	}
	c.limiter.observe(response.Header, response.StatusCode, a.now)
	a.text = buffers.Get().(*bytes.Buffer)
	a.text.Reset()
	_, err = a.text.ReadFrom(io.LimitReader(response.Body, maxBody+1))
	switch {
	case response.StatusCode != http.StatusOK:
		err = c.refused(response, a)
	case err != nil:
		err = fmt.Errorf("the answer broke off: %w", c.broken(err))
	case a.text.Len() > maxBody:
		err = fmt.Errorf("the answer is longer than %d MiB", maxBody>>20)
	default:
		return a, nil
	}
	a.free()
	return a, err
}

// answer is what came with status 200.
type answer struct {
	text *bytes.Buffer
	now  time.Time // by the upstream's clock, to the second, or ours if it tells none
}

// buffers are what answers are read into.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

func (a answer) free() { buffers.Put(a.text) }

var errWebPage = errors.New("the answer is a web page")

// json is the text, if it is JSON to its end.
func (a answer) json() (gjson.Result, error) {
	text := a.text.Bytes()
	if !gjson.ValidBytes(text) {
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) {
			return gjson.Result{}, errWebPage
		}
		return gjson.Result{}, errors.New("the answer is not whole JSON")
	}
	return gjson.ParseBytes(onOneLine(text)), nil
}

// onOneLine makes the ends of lines in valid JSON spaces: texts have them escaped.
func onOneLine(body []byte) []byte {
	for _, end := range []byte("\n\r") {
		for rest := body; ; {
			i := bytes.IndexByte(rest, end)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
	return body
}

// broken says what became of a request that got no answer. A certificate does not get better by asking again.
func (c *client) broken(err error) error {
	if failure := (*url.Error)(nil); errors.As(err, &failure) {
		err = failure.Err // the address is told elsewhere
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s", attemptTimeout)
	}
	if failure := (*tls.CertificateVerificationError)(nil); errors.As(err, &failure) {
		return backoff.Permanent(fmt.Errorf("%w: %s cannot be trusted: %w", warehouse.ErrInvalid, c.base, err))
	}
	return err
}

// refused turns an answer other than 200 into an error: final where asking again is no use.
func (c *client) refused(response *http.Response, a answer) error {
	body, _ := a.json() // or nothing
	told := body.Get("error")
	code, said := told.Get("code").String(), response.Status
	if code != "" {
		said = c.plain(fmt.Sprintf("%d %s: %s", response.StatusCode, code, told.Get("message").String()))
	}
	status := response.StatusCode
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return backoff.Permanent(fmt.Errorf("%w: %s refuses the API key (%s); give one that is good with --api-key", warehouse.ErrInvalid, c.base, said))
	case status == http.StatusNotFound && code == "NOT_FOUND":
		return backoff.Permanent(errGone)
	case status == http.StatusNotFound, status >= 300 && status < 400:
		return backoff.Permanent(c.wrongBase(said))
	case status == http.StatusTooManyRequests, status >= 500, status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		wait := until(response.Header.Get("Retry-After"), a.now)
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
			wait = time.Duration(seconds) * time.Second
		}
		if status == http.StatusTooManyRequests {
			wait = max(wait, time.Duration(told.Get("retry_after").Float()*float64(time.Second)))
		}
		if wait > longestSilence {
			return backoff.Permanent(fmt.Errorf("%s, and asks to wait for %s", said, wait))
		}
		if wait > 0 { // whole seconds, perhaps rounded down
			c.limiter.silence(wait + time.Second/4 + rand.N(time.Second))
		}
		return errors.New(said)
	}
	return backoff.Permanent(fmt.Errorf("%w: %s does not take the request (%s)", warehouse.ErrInvalid, c.base, said))
}

func (c *client) wrongBase(said string) error {
	return fmt.Errorf("%w: there is no Voicory API at %s (it answers %s); --base-url is the documented one, ending in /api/v1", warehouse.ErrInvalid, c.base, said)
}

// plain makes a text of the upstream fit for one line, and takes the key out, should it be repeated there.
func (c *client) plain(text string) string {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, c.key, "…")), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}
