// Package sigv4 verifies requests that are signed with AWS Signature Version 4, in the form that S3 clients use: path
// style, the URL path encoded once, in the Authorization header or in the query of a presigned URL.
//
// It knows nothing of keys and files: the caller finds the secret for the credentials of a request. It holds no state.
package sigv4

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxSkew is the maximum difference between the time of a request and the clock of the server.
const MaxSkew = 15 * time.Minute

// Errors of signed requests.
var (
	ErrUnsigned  = errors.New("the request is not signed with AWS4-HMAC-SHA256")
	ErrMalformed = errors.New("the signature parameters are malformed")
	ErrSignature = errors.New("the signature does not match the request")
	ErrSkewed    = errors.New("the time of the request differs too much from the time of the server")
	ErrExpired   = errors.New("the presigned URL has expired")
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	unsigned   = "UNSIGNED-PAYLOAD"
	// maxPresigned is the maximum lifetime of presigned URLs, in seconds.
	maxPresigned = 7 * 24 * 3600
)

// A Signature is the parsed signature of a request.
type Signature struct {
	AccessKey string
	Token     string // session token; "": none

	time      time.Time
	scope     string // date/region/service/aws4_request
	headers   []string
	signature []byte
	payload   string        // hash of the body, or UNSIGNED-PAYLOAD
	presigned time.Duration // lifetime of a presigned URL; 0: signed by a header
}

// Parse returns the signature of a request. It returns ErrUnsigned if the request has no signature, and
// ErrMalformed if it cannot be read. It does not verify the signature.
func Parse(r *http.Request) (s Signature, err error) {
	var credential, headers, signature, at string
	query := r.URL.Query()
	authorization := r.Header.Get("Authorization")
	switch {
	case strings.HasPrefix(authorization, algorithm+" "):
		parameters := map[string]string{}
		for part := range strings.SplitSeq(authorization[len(algorithm)+1:], ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			parameters[name] = value
		}
		credential, headers, signature = parameters["Credential"], parameters["SignedHeaders"], parameters["Signature"]
		at, s.Token = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token")
		s.payload = cmp.Or(r.Header.Get("X-Amz-Content-Sha256"), hexHash(""))
		if at == "" {
			date, err := http.ParseTime(r.Header.Get("Date"))
			if err != nil {
				return s, fmt.Errorf("%w: X-Amz-Date is missing", ErrMalformed)
			}
			at = date.UTC().Format(timeFormat)
		}
	case query.Get("X-Amz-Algorithm") == algorithm:
		credential, headers = query.Get("X-Amz-Credential"), query.Get("X-Amz-SignedHeaders")
		signature, at = query.Get("X-Amz-Signature"), query.Get("X-Amz-Date")
		s.Token, s.payload = query.Get("X-Amz-Security-Token"), unsigned
		seconds, err := strconv.Atoi(query.Get("X-Amz-Expires"))
		if err != nil || seconds < 1 || seconds > maxPresigned {
			return s, fmt.Errorf("%w: X-Amz-Expires is not a number of seconds from 1 to %d", ErrMalformed, maxPresigned)
		}
		s.presigned = time.Duration(seconds) * time.Second
	default:
		return s, ErrUnsigned
	}
	var scoped bool
	s.AccessKey, s.scope, scoped = strings.Cut(credential, "/")
	if s.time, err = time.Parse(timeFormat, at); err != nil {
		return s, fmt.Errorf("%w: %q is not a time", ErrMalformed, at)
	}
	scope := strings.Split(s.scope, "/")
	if !scoped || len(scope) != 4 || scope[0] != at[:8] || scope[2] != "s3" || scope[3] != "aws4_request" {
		return s, fmt.Errorf("%w: the credential scope is not <date>/<region>/s3/aws4_request", ErrMalformed)
	}
	s.headers = strings.Split(headers, ";")
	if !slices.Contains(s.headers, "host") || s.presigned == 0 && r.Header.Get("X-Amz-Date") != "" &&
		!slices.Contains(s.headers, "x-amz-date") {
		return s, fmt.Errorf("%w: the headers host and x-amz-date must be signed", ErrMalformed)
	}
	if s.signature, err = hex.DecodeString(signature); err != nil {
		return s, fmt.Errorf("%w: the signature is not hexadecimal", ErrMalformed)
	}
	return s, nil
}

// Verify verifies the signature of r with the secret. host is the host that the client sent the request to. It returns
// ErrSignature, ErrSkewed or ErrExpired if the request is not valid at the time now.
func (s Signature) Verify(r *http.Request, host, secret string, now time.Time) error {
	key := signingKey(secret, s.scope)
	matches := hmac.Equal(s.sign(key, s.canonical(r, r.Method, host)), s.signature)
	if !matches && s.presigned > 0 && r.Method == http.MethodHead {
		// A URL that is signed for GET is valid for HEAD, too, which Parquet readers send to get the length of a file.
		matches = hmac.Equal(s.sign(key, s.canonical(r, http.MethodGet, host)), s.signature)
	}
	if !matches {
		return ErrSignature
	}
	age := now.Sub(s.time)
	switch {
	case age < -MaxSkew, s.presigned == 0 && age > MaxSkew:
		return ErrSkewed
	case s.presigned > 0 && age >= s.presigned:
		return ErrExpired
	}
	return nil
}

// Presign returns the URL of a request with GET to path that the credential signs for a lifetime, in whole seconds.
// base is the scheme and the host that the client sends the request to. path needs no escapes.
func Presign(base *url.URL, path string, c Credential, region string, now time.Time, lifetime time.Duration) string {
	s := Signature{time: now.UTC(), headers: []string{"host"}, payload: unsigned}
	s.scope = s.time.Format("20060102") + "/" + region + "/s3/aws4_request"
	query := canonicalQuery(url.Values{
		"X-Amz-Algorithm": {algorithm}, "X-Amz-Credential": {c.AccessKey + "/" + s.scope},
		"X-Amz-Date": {s.time.Format(timeFormat)}, "X-Amz-Expires": {strconv.Itoa(int(lifetime / time.Second))},
		"X-Amz-Security-Token": {c.Token}, "X-Amz-SignedHeaders": {"host"},
	}.Encode())
	r := &http.Request{RequestURI: path + "?" + query}
	signature := s.sign(signingKey(c.Secret, s.scope), s.canonical(r, http.MethodGet, base.Host))
	return base.Scheme + "://" + base.Host + path + "?" + query + "&X-Amz-Signature=" + hex.EncodeToString(signature)
}

// A Credential is an access key with its secret, which a client signs requests with.
type Credential struct {
	AccessKey, Secret string
	Token             string // session token
}

// signingKey returns the key that requests of a scope are signed with.
func signingKey(secret, scope string) []byte {
	key := []byte("AWS4" + secret)
	for part := range strings.SplitSeq(scope, "/") {
		key = sign(key, part)
	}
	return key
}

// sign returns the signature of a canonical request.
func (s Signature) sign(key []byte, canonical string) []byte {
	return sign(key, strings.Join([]string{algorithm, s.time.Format(timeFormat), s.scope, hexHash(canonical)}, "\n"))
}

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// canonical returns the canonical request, with the method.
func (s Signature) canonical(r *http.Request, method, host string) string {
	// The path as it was sent, because handlers may have changed r.URL.
	path, rawQuery, _ := strings.Cut(r.RequestURI, "?")
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		segments[i] = escape(segment)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n%s\n", method, strings.Join(segments, "/"), canonicalQuery(rawQuery))
	for _, name := range s.headers {
		values := slices.Clone(r.Header.Values(name))
		switch {
		case name == "host":
			values = []string{host}
		case name == "content-length" && len(values) == 0:
			values = []string{strconv.FormatInt(max(r.ContentLength, 0), 10)}
		}
		for i, value := range values {
			values[i] = strings.Join(strings.Fields(value), " ")
		}
		fmt.Fprintf(&b, "%s:%s\n", name, strings.Join(values, ","))
	}
	fmt.Fprintf(&b, "\n%s\n%s", strings.Join(s.headers, ";"), s.payload)
	return b.String()
}

// canonicalQuery returns the parameters without the signature, encoded and sorted by name and value.
func canonicalQuery(raw string) string {
	values, _ := url.ParseQuery(raw) // a malformed parameter is left out, so that the signature does not match
	delete(values, "X-Amz-Signature")
	names := slices.SortedFunc(maps.Keys(values), func(a, b string) int { return cmp.Compare(escape(a), escape(b)) })
	var pairs []string
	for _, name := range names {
		all := slices.Clone(values[name])
		for i, value := range all {
			all[i] = escape(name) + "=" + escape(value)
		}
		slices.Sort(all)
		pairs = append(pairs, all...)
	}
	return strings.Join(pairs, "&")
}

// escape encodes all characters except letters, digits, "-", "_", "." and "~".
func escape(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }
