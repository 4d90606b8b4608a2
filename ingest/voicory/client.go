package voicory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
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

// ErrUpstream is the kind of error that the API or the network causes. The same pull may succeed later.
var ErrUpstream = errors.New("the Voicory API is not available")

// errLimited is returned if a rate limit refused the request. The limiter is paused then.
var errLimited = errors.New("rate limit")

// errNotFound is returned if a row does not exist, for example because it was deleted.
var errNotFound = errors.New("no such row")

const (
	attemptTimeout = time.Minute      // time limit of one attempt, including reading the response
	retryBudget    = 5 * time.Minute  // time limit of one request with all its attempts, without waits for rate limits
	limitBudget    = 31 * time.Minute // time limit of one request that only meets rate limits: two windows of 15 minutes
	limitPause     = time.Minute      // pause after a 429 that does not say for how long
	maxRetryAfter  = 15 * time.Minute // longest Retry-After that is respected; a longer one ends the pull
	maxBody        = 256 << 20        // maximum size of a response in bytes
)

// A client makes requests to the API. It must not be used by several goroutines at the same time.
type client struct {
	base     string // base URL without a trailing slash
	key      string
	http     *http.Client
	limiter  *limiter
	log      *slog.Logger
	verified bool // a response from the base URL was valid
}

// keyDigest returns a short digest of the API key. It differs between keys, and no key can be derived from it.
func (c *client) keyDigest() string {
	digest := sha256.Sum256([]byte(c.key))
	return hex.EncodeToString(digest[:8])
}

// get makes a request and returns the value that read parses from the response. It retries after faults of the API and
// the network, and if read returns an error, for at most retryBudget; then it returns ErrUpstream. Waits for rate
// limits do not count, because a limit is not a fault; they end after limitBudget. It returns ErrInvalid if the
// configuration is wrong and errNotFound if the row does not exist, both without retrying.
func get[T any](ctx context.Context, c *client, path string, read func(apiResponse) (T, error)) (value T, err error) {
	tries, began := 0, time.Now()
	waited := time.Duration(0) // for rate limits
	value, err = backoff.Retry(ctx, func() (value T, err error) {
		var a apiResponse
		for limitedSince := time.Now(); ; {
			tries++
			sent := time.Now()
			if a, err = c.attempt(ctx, path); !errors.Is(err, errLimited) {
				waited += sent.Sub(limitedSince)
				break
			}
			if time.Since(limitedSince) > limitBudget {
				return value, backoff.Permanent(err)
			}
		}
		if err == nil {
			value, err = read(a)
			a.release()
		}
		if errors.Is(err, errWebPage) && !c.verified && tries == 3 {
			err = backoff.Permanent(c.wrongBase("a web page"))
		}
		if err != nil && time.Since(began)-waited > retryBudget {
			err = backoff.Permanent(err)
		}
		return value, err
	}, backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
		c.log.LogAttrs(ctx, slog.LevelWarn, "retry a request to the Voicory API", slog.String("request", path),
			slog.Any("error", err), slog.Duration("wait", wait))
	}))
	switch {
	case err == nil:
		c.verified = true
		return value, nil
	case ctx.Err() != nil:
		return value, ctx.Err()
	case errors.Is(err, warehouse.ErrInvalid), errors.Is(err, errNotFound):
		return value, err
	}
	return value, fmt.Errorf(
		"%w: GET %s: %w (%d attempts in %s); rows read so far are stored, and the same command resumes",
		ErrUpstream, c.base+path, err, tries, time.Since(began).Round(time.Second))
}

// attempt waits for the rate limits and makes one request. It returns the response if the status is 200. The caller
// must release it. Errors that must not be retried are marked as permanent.
func (c *client) attempt(ctx context.Context, path string) (a apiResponse, err error) {
	if err := c.limiter.wait(ctx); err != nil {
		return a, err
	}
	within, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	sent := 0
	within = httptrace.WithClientTrace(within, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) {
		// If an idle connection turns out to be broken, the transport sends the request again. That counts as well.
		if sent++; sent > 1 {
			c.limiter.arrived()
			_ = c.limiter.wait(within) // an error means that the request's context has ended
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
		return a, c.transportError(err)
	}
	defer response.Body.Close()
	a.date, err = http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		a.date = time.Now().UTC()
	}
	c.limiter.observe(response.Header, response.StatusCode, a.date)
	a.body = buffers.Get().(*bytes.Buffer)
	a.body.Reset()
	_, err = a.body.ReadFrom(io.LimitReader(response.Body, maxBody+1))
	switch {
	case response.StatusCode != http.StatusOK:
		err = c.statusError(response, a)
	case err != nil:
		err = fmt.Errorf("the response is incomplete: %w", c.transportError(err))
	case a.body.Len() > maxBody:
		err = fmt.Errorf("the response is longer than %d MiB", maxBody>>20)
	default:
		return a, nil
	}
	a.release()
	return a, err
}

// An apiResponse is a response that has been read completely.
type apiResponse struct {
	body *bytes.Buffer
	date time.Time // Date header, resolution 1 s; the local time if the header is missing
}

// buffers holds unused buffers for the bodies of responses.
var buffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// release returns the buffer of the body. Neither the body nor parts of it may be used afterwards.
func (a apiResponse) release() { buffers.Put(a.body) }

var errWebPage = errors.New("the response is a web page")

// json returns the body as JSON on one line. It returns an error if the body is not valid JSON.
func (a apiResponse) json() (gjson.Result, error) {
	text := a.body.Bytes()
	if !gjson.ValidBytes(text) {
		if bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")) {
			return gjson.Result{}, errWebPage
		}
		return gjson.Result{}, errors.New("the response is not valid JSON")
	}
	return gjson.ParseBytes(onOneLine(text)), nil
}

// onOneLine replaces line breaks in valid JSON by spaces, in place. Strings are not affected, because JSON escapes line
// breaks in them.
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

// transportError returns the error of a request that got no complete response. An invalid certificate is a permanent
// ErrInvalid.
func (c *client) transportError(err error) error {
	if failure := (*url.Error)(nil); errors.As(err, &failure) {
		err = failure.Err // get adds the URL
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no response within %s", attemptTimeout)
	}
	if failure := (*tls.CertificateVerificationError)(nil); errors.As(err, &failure) {
		return backoff.Permanent(fmt.Errorf("%w: verify the certificate of %s: %w", warehouse.ErrInvalid, c.base, err))
	}
	return err
}

// statusError returns the error for a response with a status other than 200. The error is permanent unless a retry may
// help. If the response has a Retry-After, statusError pauses the limiter for that time.
func (c *client) statusError(response *http.Response, a apiResponse) error {
	body, _ := a.json() // empty if the body is not JSON
	upstreamError := body.Get("error")
	code, reason := upstreamError.Get("code").String(), response.Status
	if code != "" {
		reason = c.sanitize(fmt.Sprintf("%d %s: %s", response.StatusCode, code, upstreamError.Get("message").String()))
	}
	status := response.StatusCode
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return backoff.Permanent(fmt.Errorf("%w: %s refuses the API key (%s); set a valid one with --api-key",
			warehouse.ErrInvalid, c.base, reason))
	case status == http.StatusNotFound && code == "NOT_FOUND":
		return backoff.Permanent(errNotFound)
	case status == http.StatusNotFound, status >= 300 && status < 400:
		return backoff.Permanent(c.wrongBase(reason))
	case status == http.StatusTooManyRequests, status >= 500,
		status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		wait := timeUntil(response.Header.Get("Retry-After"), a.date)
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
			wait = time.Duration(seconds) * time.Second
		}
		if status == http.StatusTooManyRequests {
			wait = max(wait, time.Duration(upstreamError.Get("retry_after").Float()*float64(time.Second)))
			if reset, err := strconv.Atoi(response.Header.Get("RateLimit-Reset")); err == nil && wait == 0 {
				wait = time.Duration(reset) * time.Second
			}
			if wait <= 0 {
				// The limit of the platform for all requests of an address does not say when it ends.
				wait = limitPause
			}
		}
		if wait > maxRetryAfter {
			return backoff.Permanent(fmt.Errorf("%s, with a Retry-After of %s", reason, wait))
		}
		if wait > 0 { // in whole seconds, which may be rounded down
			c.limiter.pauseFor(wait + time.Second/4 + rand.N(time.Second))
		}
		if status == http.StatusTooManyRequests {
			c.log.Warn("wait for a rate limit of the Voicory API", slog.String("reason", reason), slog.Duration("wait", wait))
			return fmt.Errorf("%w: %s", errLimited, reason)
		}
		return errors.New(reason)
	}
	return backoff.Permanent(fmt.Errorf("%w: %s refuses the request (%s)", warehouse.ErrInvalid, c.base, reason))
}

// wrongBase returns the error for a base URL that does not respond like the API.
func (c *client) wrongBase(reason string) error {
	return fmt.Errorf("%w: no Voicory API at %s (it returned %s); set --base-url to the documented URL, ending in /api/v1",
		warehouse.ErrInvalid, c.base, reason)
}

// sanitize returns a text of the API on one line, shortened to about 200 bytes and without the key.
func (c *client) sanitize(text string) string {
	text = strings.Join(strings.Fields(strings.ReplaceAll(text, c.key, "…")), " ")
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}
