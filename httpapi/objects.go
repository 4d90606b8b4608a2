package httpapi

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/httpapi/internal/sigv4"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The files and the metadata of tables are objects of one bucket, which clients read with the API of S3. A key is
// <tenant>/<export>/data/<file> or <tenant>/<export>/metadata/<name>. The objects of a table are those of its listed
// snapshots. The bucket cannot be listed, and is read-only.
const (
	bucket      = "voicory"
	objectsPath = "/" + bucket
	objectsURL  = "s3://" + bucket + "/"
	// region is a valid name that clients sign with. The server accepts any region.
	region = "us-east-1"
)

// tableLocation returns the URL of the table of a tenant's export.
func tableLocation(tenant uuid.UUID, export schema.Export) string {
	return objectsURL + tenant.String() + "/" + export.Name
}

func (a *api) registerObjects(router *mux.Router) {
	needs := requirements{secret: true, work: Files, authenticate: a.authenticateObject, limit: a.limitObjectRequest}
	a.get(router, objectsPath+"/{tenant}/{table}/{kind}/{name}", a.authorize(needs, a.object))
	other := a.authorize(needs, func(_ http.ResponseWriter, r *http.Request, _ control.Key) error {
		if isUnder(r, objectsPath) && len(r.URL.Path) <= len(objectsPath)+1 {
			return &web.Problem{Status: http.StatusForbidden, Code: "AccessDenied", Message: "The bucket cannot be listed"}
		}
		return noSuchObject
	})
	rest := a.handle("", func(w http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return withoutBody(other)(w, r)
		}
		w.Header().Set("Allow", "GET, HEAD")
		return &web.Problem{Status: http.StatusMethodNotAllowed, Code: "MethodNotAllowed",
			Message: "The objects are read-only"}
	})
	router.Path(objectsPath).Handler(rest)
	router.PathPrefix(objectsPath + "/").Handler(rest)
}

// noSuchObject is the answer for every key without an object, also for those of other tenants.
var noSuchObject = &web.Problem{Status: http.StatusNotFound, Code: "NoSuchKey", Message: "The object does not exist"}

// A vended credential permits to read the objects of the key's tenant until it expires or the key is revoked. The
// server does not store it: the access key and the session token name the key and the time, and the secret is derived
// from them, so that only the server can issue it.
type vended struct {
	key, tenant uuid.UUID
	expires     int64  // Unix seconds
	hmacKey     []byte // [Options.TableKey]
}

// maxVended is the maximum lifetime of a vended credential.
const maxVended = time.Hour

// vend returns a credential for the key. It expires when the key does.
func (a *api) vend(key control.Key) vended {
	expires := a.Now().Add(maxVended)
	if key.ExpiresAt != nil && key.ExpiresAt.Before(expires) {
		expires = *key.ExpiresAt
	}
	return vended{key.ID, key.Tenant, expires.Unix(), a.TableKey}
}

// accessKey returns the access key, which has capital letters and digits only.
func (v vended) accessKey() string { return strings.ToUpper(hex.EncodeToString(v.key[:])) }

func (v vended) token() string { return v.key.String() + "." + strconv.FormatInt(v.expires, 10) }

func (v vended) secret() string {
	mac := hmac.New(sha256.New, v.hmacKey)
	mac.Write([]byte(v.tenant.String() + "\n" + v.token()))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// settings returns the settings of an S3 client that uses the credential.
func (v vended) settings() map[string]string {
	return map[string]string{
		"s3.access-key-id": v.accessKey(), "s3.secret-access-key": v.secret(), "s3.session-token": v.token(),
		"s3.session-token-expires-at-ms": strconv.FormatInt(v.expires*1000, 10),
		"client.region":                  region, "s3.region": region, "s3.path-style-access": "true",
	}
}

// authenticateObject returns the key that the vended credential of the request's signature was derived from.
func (a *api) authenticateObject(r *http.Request) (key control.Key, valid context.Context, err error) {
	refuse := func(code, message string) (control.Key, context.Context, error) {
		return control.Key{}, nil, &web.Problem{Status: http.StatusForbidden, Code: code, Message: message}
	}
	signature, err := sigv4.Parse(r)
	switch {
	case errors.Is(err, sigv4.ErrUnsigned):
		return refuse("AccessDenied", "The request is not signed; the catalog returns credentials with each table")
	case err != nil:
		return key, nil, &web.Problem{Status: http.StatusBadRequest, Code: "AuthorizationHeaderMalformed",
			Message: err.Error()}
	}
	text, seconds, _ := strings.Cut(signature.Token, ".")
	id, err := parseUUID(text)
	if err != nil {
		return refuse("InvalidAccessKeyId", "The session token is not one that the catalog has returned")
	}
	found, valid, ended := a.Store.KeyByID(id)
	if found.ID != id {
		return refuse("InvalidAccessKeyId", "The access key does not exist")
	}
	expires, err := strconv.ParseInt(seconds, 10, 64)
	credential := vended{id, found.Tenant, expires, a.TableKey}
	if err != nil || signature.Token != credential.token() || signature.AccessKey != credential.accessKey() {
		return refuse("InvalidAccessKeyId", "The access key or the session token is not one that the catalog has returned")
	}
	_, host := a.origin(r)
	switch err := signature.Verify(r, host, credential.secret(), a.Now()); {
	case errors.Is(err, sigv4.ErrSkewed):
		return refuse("RequestTimeTooSkewed", "The time of the request differs too much from the time of the server")
	case errors.Is(err, sigv4.ErrExpired):
		return refuse("AccessDenied", "The presigned URL has expired")
	case err != nil:
		return refuse("SignatureDoesNotMatch", "The signature does not match the request")
	case ended != nil:
		return found, nil, &web.Problem{Status: http.StatusForbidden, Code: "InvalidAccessKeyId",
			Message: problemOf(ended).Message}
	case a.Now().Unix() >= expires:
		return found, nil, &web.Problem{Status: http.StatusBadRequest, Code: "ExpiredToken",
			Message: "The credential has expired; load the table again"}
	}
	return found, valid, nil
}

// tableAllowance returns the key of the allowance that a request for an object belongs to.
func tableAllowance(r *http.Request, key control.Key) allowanceKey {
	return allowanceKey{key.ID, "/" + mux.Vars(r)["table"]}
}

// limitObjectRequest applies the rate limits as [api.limitRequest] does, except to requests that the allowance of the
// table covers.
func (a *api) limitObjectRequest(w http.ResponseWriter, r *http.Request, key control.Key) error {
	if a.allowances.spendRequest(tableAllowance(r, key)) {
		return nil
	}
	stateOf(r).counted = true
	return a.limitRequest(w, r, key)
}

// object sends an object of a table or ranges of it.
func (a *api) object(w http.ResponseWriter, r *http.Request, key control.Key) error {
	for name := range r.URL.Query() {
		if name != "x-id" && !strings.HasPrefix(name, "X-Amz-") {
			return &web.Problem{Status: http.StatusNotImplemented, Code: "NotImplemented",
				Message: "Objects have no versions, parts or other subresources"}
		}
	}
	path := mux.Vars(r)
	export, err := schema.ExportNamed(path["table"])
	if err != nil || path["tenant"] != key.Tenant.String() {
		return noSuchObject
	}
	table, err := a.tables.Load(r.Context(), key.Tenant, export, tableLocation(key.Tenant, export))
	if err != nil {
		return err
	}
	file, err := a.openObject(r.Context(), table, path["kind"]+"/"+path["name"])
	if errors.Is(err, warehouse.ErrNotFound) {
		return noSuchObject
	}
	if err != nil {
		return err
	}
	if stateOf(r).counted {
		files, size := table.Size()
		a.allowances.open(tableAllowance(r, key), size, int64(files)+2, "") // 2 for the metadata
	}
	if r.Method == http.MethodGet {
		_, cost := web.Ranges(r.Header.Get("Range"), file.bytes)
		a.allowances.charge(tableAllowance(r, key), cost)
	}
	w.Header().Set("Accept-Ranges", "bytes")
	return a.sendFile(w, r, file)
}

// openObject opens the object of a table with the key relative to its location.
func (a *api) openObject(ctx context.Context, table *iceberg.Table, key string) (sentFile, error) {
	name, isData := strings.CutPrefix(key, iceberg.DataFolder)
	if !isData {
		content, modified, err := a.tables.Metadata(ctx, table, key)
		if err != nil {
			return sentFile{}, err
		}
		sum := sha256.Sum256(content)
		_, name, _ := strings.Cut(key, "/")
		return sentFile{content: readSeekCloser{bytes.NewReader(content)}, name: name, mediaType: "application/octet-stream",
			sha256: hex.EncodeToString(sum[:]), bytes: int64(len(content)), asOf: modified, modified: modified}, nil
	}
	if !table.HasFile(name) {
		return sentFile{}, warehouse.ErrNotFound
	}
	file, content, err := a.Store.OpenPublished(ctx, table.Tenant, table.Export.Name, name)
	if err != nil {
		return sentFile{}, err
	}
	return sentFile{content: content, name: file.Name, mediaType: exports.Parquet.MediaType(), sha256: file.SHA256,
		bytes: file.Bytes, asOf: file.AsOf, modified: file.AsOf}, nil
}

// readSeekCloser is a reader in memory.
type readSeekCloser struct{ *bytes.Reader }

func (readSeekCloser) Close() error { return nil }

var _ io.ReadSeekCloser = readSeekCloser{}

// objectErrors are the codes of errors in the API of S3, by the status of a problem.
var objectErrors = map[int]string{
	http.StatusBadRequest: "InvalidRequest", http.StatusUnauthorized: "AccessDenied",
	http.StatusForbidden: "AccessDenied", http.StatusNotFound: "NoSuchKey",
	http.StatusMethodNotAllowed:   "MethodNotAllowed",
	http.StatusPreconditionFailed: "PreconditionFailed", http.StatusRequestedRangeNotSatisfiable: "InvalidRange",
	http.StatusInternalServerError: "InternalError", http.StatusServiceUnavailable: "ServiceUnavailable",
}

// encodeObjectError returns the body of an error of the API of S3. That API has neither 401 nor 429, so p gets the
// status that its clients know.
func encodeObjectError(r *http.Request, h http.Header, p *web.Problem) (mediaType string, body []byte) {
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	code := p.Code
	switch {
	case p.Status == http.StatusTooManyRequests:
		p.Status, code = http.StatusServiceUnavailable, "SlowDown"
	case strings.ToUpper(code) == code: // a code of the API
		if code = objectErrors[p.Status]; code == "" {
			code = "InvalidRequest"
		}
	}
	if p.Status == http.StatusUnauthorized {
		p.Status = http.StatusForbidden
	}
	body, err := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string   `xml:"Code"`
		Message   string   `xml:"Message"`
		Resource  string   `xml:"Resource"`
		RequestID string   `xml:"RequestId"`
	}{Code: code, Message: p.Message, Resource: control.MaskKeys(r.URL.Path), RequestID: stateOf(r).id})
	if err != nil {
		panic(err) // texts always encode
	}
	return "application/xml", append([]byte(xml.Header), body...)
}
