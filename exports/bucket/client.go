package bucket

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/voicory/warehouse/warehouse"
)

// Options name the bucket and how it is reached. Credentials are not among them: they are read from the environment or
// from the files of the AWS tools, see [Open].
type Options struct {
	URL       string            // s3://bucket/prefix
	Endpoint  string            // URL of the object store; "": Amazon S3 in the region
	Region    string            // region that requests are signed for
	Style     string            // path, virtual or auto, which selects one of them by the endpoint
	Transport http.RoundTripper // nil: a transport of this package

	attempts int           // for each request, before the replicator pauses; 0: maxAttempts
	timeout  time.Duration // of a request without bytes; 0: requestTimeout
}

// Bounds of requests. A request may last for requestTimeout, and one second longer for each minRate bytes.
const (
	requestTimeout = 30 * time.Second
	minRate        = 128 << 10
	maxAttempts    = 3
)

// client sends requests to the bucket. Keys are relative to the prefix. It is safe for concurrent use.
type client struct {
	core        minio.Core
	credentials *credentials.Credentials
	bucket      string
	prefix      string // "" or a text that ends with a slash
	counts      *requestCounts
	timeout     time.Duration // of a request without bytes
}

// newClient returns a client of the bucket. It sends no request. It returns ErrInvalid for invalid options.
func newClient(o Options) (*client, error) {
	invalid := func(format string, args ...any) (*client, error) {
		return nil, fmt.Errorf("%w: "+format, append([]any{warehouse.ErrInvalid}, args...)...)
	}
	location, err := url.Parse(o.URL)
	if err != nil || location.Scheme != "s3" || location.Host == "" || location.RawQuery != "" || location.User != nil ||
		location.Fragment != "" {
		return invalid("lake: want a URL such as s3://bucket/prefix, without credentials")
	}
	endpoint, err := url.Parse(o.Endpoint)
	if o.Endpoint == "" {
		endpoint = &url.URL{Scheme: "https", Host: "s3." + o.Region + ".amazonaws.com"}
	}
	if err != nil || endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.Host == "" ||
		strings.Trim(endpoint.Path, "/") != "" || endpoint.User != nil {
		return invalid("endpoint of the lake: want a URL such as https://s3.example.com, without a path or credentials")
	}
	style, known := map[string]minio.BucketLookupType{"": minio.BucketLookupAuto, "auto": minio.BucketLookupAuto,
		"path": minio.BucketLookupPath, "virtual": minio.BucketLookupDNS}[o.Style]
	if !known {
		return invalid("style of the lake's URLs %q (want auto, path or virtual)", o.Style)
	}
	c := &client{bucket: location.Host, prefix: strings.Trim(location.Path, "/"), counts: &requestCounts{},
		timeout: cmp.Or(o.timeout, requestTimeout)}
	if c.prefix != "" {
		c.prefix += "/"
	}
	if o.Transport == nil {
		if o.Transport, err = minio.DefaultTransport(endpoint.Scheme == "https"); err != nil {
			return nil, err
		}
	}
	c.counts.next = o.Transport
	c.credentials = credentials.New(credentialFiles{})
	core, err := minio.NewCore(endpoint.Host, &minio.Options{Creds: c.credentials, Secure: endpoint.Scheme == "https",
		Region: o.Region, BucketLookup: style, Transport: c.counts, MaxRetries: cmp.Or(o.attempts, maxAttempts)})
	if err != nil {
		return invalid("endpoint of the lake: %w", err)
	}
	c.core = *core
	return c, nil
}

// url returns the URL of a key.
func (c *client) url(key string) string { return "s3://" + c.bucket + "/" + c.prefix + key }

// credentialFiles reads credentials from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or from the
// shared files of the AWS tools, which AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE and AWS_PROFILE select.
type credentialFiles struct{}

// RetrieveWithCredContext implements credentials.Provider.
func (credentialFiles) RetrieveWithCredContext(cc *credentials.CredContext) (v credentials.Value, err error) {
	v, err = (&credentials.EnvAWS{}).RetrieveWithCredContext(cc)
	if err == nil && v.AccessKeyID != "" {
		return v, nil
	}
	v, err = (&credentials.FileAWSCredentials{}).RetrieveWithCredContext(cc)
	if err != nil || v.AccessKeyID == "" {
		return v, errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or " +
			"AWS_SHARED_CREDENTIALS_FILE to a file with a profile that has them")
	}
	return v, nil
}

// Retrieve implements credentials.Provider.
func (p credentialFiles) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// IsExpired implements credentials.Provider. Credentials are read again after the store has refused them.
func (credentialFiles) IsExpired() bool { return false }

// An object is an object of the bucket without its content.
type object struct {
	key      string
	bytes    int64
	etag     string
	modified time.Time // by the clock of the store
}

// Names of user metadata of objects. minio-go writes them in this form.
const (
	digestMetadata = "Sha256"         // SHA-256 of the content, hexadecimal
	writerMetadata = "Voicory-Writer" // id of the process that wrote the pointer
)

// errPrecondition is the kind of the error of a conditional write whose condition did not hold.
var errPrecondition = errors.New("the condition of the write does not hold")

// A requestError is the failure of a request to the bucket.
type requestError struct {
	doing string
	err   error
}

func (e *requestError) Error() string {
	if code := minio.ToErrorResponse(e.err).Code; code != "" {
		return e.doing + ": " + code + ": " + e.err.Error()
	}
	return e.doing + ": " + e.err.Error()
}

// Unwrap returns the cause.
func (e *requestError) Unwrap() error { return e.err }

// do calls a function that sends requests, and bounds its time. Errors get the operation and the URL.
func (c *client) do(ctx context.Context, operation, key string, limit time.Duration, send func(context.Context) error,
) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := send(bounded)
	switch response := minio.ToErrorResponse(err); {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case response.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%s %s: %w", operation, c.url(key), errPrecondition)
	case response.StatusCode == http.StatusForbidden || response.StatusCode == http.StatusUnauthorized:
		c.credentials.Expire()
	}
	return &requestError{operation + " " + c.url(key), err}
}

// maxPages is the number of requests that a list may last for. Each of them returns up to 1,000 objects.
const maxPages = 20

// list returns the objects whose keys begin with the prefix, by key.
func (c *client) list(ctx context.Context, prefix string) (objects map[string]object, err error) {
	objects = map[string]object{}
	err = c.do(ctx, "list", prefix, maxPages*c.timeout, func(ctx context.Context) error {
		options := minio.ListObjectsOptions{Prefix: c.prefix + prefix, Recursive: true}
		for o := range c.core.ListObjectsIter(ctx, c.bucket, options) {
			if o.Err != nil {
				return o.Err
			}
			key := strings.TrimPrefix(o.Key, c.prefix)
			objects[key] = object{key, o.Size, strings.Trim(o.ETag, `"`), o.LastModified}
		}
		return nil
	})
	return objects, err
}

// get returns the content of a small object with its ETag and the writer in its metadata.
func (c *client) get(ctx context.Context, key string) (content []byte, etag, writer string, err error) {
	err = c.do(ctx, "get", key, c.timeout, func(ctx context.Context) error {
		body, info, _, err := c.core.GetObject(ctx, c.bucket, c.prefix+key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		etag, writer = strings.Trim(info.ETag, `"`), info.UserMetadata[writerMetadata]
		content, err = io.ReadAll(io.LimitReader(body, maxPointer))
		return err
	})
	return content, etag, writer, err
}

// fetch writes the content of an object of about the given number of bytes to out. It returns an error that wraps
// fs.ErrNotExist if the object is missing. A failed write to out is a requestError, too; the caller knows its cause.
func (c *client) fetch(ctx context.Context, key string, bytes int64, out io.Writer) error {
	err := c.do(ctx, "get", key, c.timeout+time.Duration(bytes/minRate)*time.Second, func(ctx context.Context) error {
		body, _, _, err := c.core.GetObject(ctx, c.bucket, c.prefix+key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.Copy(out, body)
		return err
	})
	if minio.ToErrorResponse(errors.Unwrap(err)).Code == minio.NoSuchKey {
		return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return err
}

// maxPointer bounds the bytes of a pointer.
const maxPointer = 1 << 10

// A put is a conditional write of an object.
type put struct {
	key       string
	content   io.ReadSeeker
	bytes     int64
	sha256    string // hexadecimal; the store refuses another content
	mediaType string
	writer    string // id of the process, for pointers
	replaces  string // ETag of the object that is replaced; "": the object must not exist
}

// put writes an object and returns its ETag. It returns errPrecondition if the condition does not hold. If the client
// repeats a request that has already taken effect, the condition does not hold any more, either.
func (c *client) put(ctx context.Context, p put) (etag string, err error) {
	options := minio.PutObjectOptions{ContentType: p.mediaType, UserMetadata: map[string]string{digestMetadata: p.sha256},
		DisableContentSha256: true} // of chunks: the digest of the whole is signed
	if p.writer != "" {
		options.UserMetadata[writerMetadata] = p.writer
	}
	if p.replaces == "" {
		options.SetMatchETagExcept("*")
	} else {
		options.SetMatchETag(p.replaces)
	}
	err = c.do(ctx, "put", p.key, c.timeout+time.Duration(p.bytes/minRate)*time.Second, func(ctx context.Context) error {
		info, err := c.core.PutObject(ctx, c.bucket, c.prefix+p.key, p.content, p.bytes, "", p.sha256, options)
		etag = info.ETag
		return err
	})
	return etag, err
}

// create writes an object that never changes. If the object exists with the same length and digest, create does
// nothing. An object with another content is damaged, and is replaced.
func (c *client) create(ctx context.Context, p put) error {
	_, err := c.put(ctx, p)
	if !errors.Is(err, errPrecondition) {
		return err
	}
	var info minio.ObjectInfo
	err = c.do(ctx, "head", p.key, c.timeout, func(ctx context.Context) (err error) {
		info, err = c.core.StatObject(ctx, c.bucket, c.prefix+p.key, minio.StatObjectOptions{})
		return err
	})
	if err != nil || info.Size == p.bytes && info.UserMetadata[digestMetadata] == p.sha256 {
		return err
	}
	p.replaces = strings.Trim(info.ETag, `"`)
	_, err = c.put(ctx, p)
	return err
}

// createContent creates an object with a content in memory.
func (c *client) createContent(ctx context.Context, key string, content []byte) error {
	return c.create(ctx, put{key: key, content: bytes.NewReader(content), bytes: int64(len(content)),
		sha256: digestOf(content), mediaType: "application/octet-stream"})
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// remove removes an object, if it exists.
func (c *client) remove(ctx context.Context, key string) error {
	return c.do(ctx, "delete", key, c.timeout, func(ctx context.Context) error {
		return c.core.RemoveObject(ctx, c.bucket, c.prefix+key, minio.RemoveObjectOptions{})
	})
}

// requestCounts counts the requests that are sent, by method, and their failures.
type requestCounts struct {
	next   http.RoundTripper
	sent   [len(methods)]atomic.Int64
	failed atomic.Int64 // without an answer, or with a status of 500 or more
	bytes  atomic.Int64 // of the bodies of requests
}

// methods are the methods of requests.
var methods = [...]string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete}

// RoundTrip implements http.RoundTripper.
func (c *requestCounts) RoundTrip(r *http.Request) (*http.Response, error) {
	for i, method := range methods {
		if method == r.Method {
			c.sent[i].Add(1)
		}
	}
	c.bytes.Add(max(r.ContentLength, 0))
	response, err := c.next.RoundTrip(r)
	if err != nil || response.StatusCode >= http.StatusInternalServerError {
		c.failed.Add(1)
	}
	return response, err
}
