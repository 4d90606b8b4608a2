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
// <namespace>/<export>/data/<file> or <namespace>/<export>/metadata/<name>. The objects of a table are those of its
// listed snapshots. The bucket cannot be listed, and is read-only.
const (
	bucket      = "voicory"
	objectsPath = "/" + bucket
	objectsURL  = "s3://" + bucket + "/"
	// region is a valid name that clients sign with. The server accepts any region.
	region = "us-east-1"
)

// objectPath is the path of an object.
const objectPath = objectsPath + "/{namespace}/{table}/{kind}/{name}"

// tableLocation returns the URL of the table of an export.
func tableLocation(space tableSpace, export schema.Export) string {
	return objectsURL + space.name() + "/" + export.Name
}

func (a *api) registerObjects(router *mux.Router, access tableAccess, paths ...string) {
	for _, path := range paths {
		a.get(router, path, access.objects(a.object))
	}
	other := access.objects(func(_ http.ResponseWriter, r *http.Request, _ tableSpace) error {
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

// A vended credential permits to read the objects of its holder, a key or the operator, until it expires or the
// holder's credential is void. The server does not store it: the access key and the session token name the holder and
// the time, and the secret is derived from them, so that only the server can issue it.
type vended struct {
	holder    string // names the holder in the session token
	accessKey string // capital letters and digits
	bound     string // part of the input of the secret: the tenant of the holder
	expires   int64  // Unix seconds
	hmacKey   []byte
}

// maxVended is the maximum lifetime of a vended credential.
const maxVended = time.Hour

// vend returns a credential for the key. It expires when the key does.
func (s tenantSpace) vend() vended {
	expires := s.a.Now().Add(maxVended)
	if s.key.ExpiresAt != nil && s.key.ExpiresAt.Before(expires) {
		expires = *s.key.ExpiresAt
	}
	return s.a.vendedFor(s.key, expires.Unix())
}

// vendedFor returns the credential of a key that expires at the time.
func (a *api) vendedFor(key control.Key, expires int64) vended {
	return vended{key.ID.String(), strings.ToUpper(hex.EncodeToString(key.ID[:])), key.Tenant.String(), expires,
		a.TableKey}
}

func (v vended) token() string { return v.holder + "." + strconv.FormatInt(v.expires, 10) }

func (v vended) secret() string {
	mac := hmac.New(sha256.New, v.hmacKey)
	mac.Write([]byte(v.bound + "\n" + v.token()))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// settings returns the settings of an S3 client that uses the credential.
func (v vended) settings() map[string]string {
	return map[string]string{
		"s3.access-key-id": v.accessKey, "s3.secret-access-key": v.secret(), "s3.session-token": v.token(),
		"s3.session-token-expires-at-ms": strconv.FormatInt(v.expires*1000, 10),
		"client.region":                  region, "s3.region": region, "s3.path-style-access": "true",
	}
}

// objectProblem returns the refusal of a request for an object with the code of S3.
func objectProblem(code, message string) error {
	return &web.Problem{Status: http.StatusForbidden, Code: code, Message: message}
}

// parseSignature returns the signature of a request, and the holder and the end of the credential that its session
// token names.
func parseSignature(r *http.Request) (signature sigv4.Signature, holder string, expires int64, err error) {
	signature, err = sigv4.Parse(r)
	switch {
	case errors.Is(err, sigv4.ErrUnsigned):
		return signature, "", 0, objectProblem("AccessDenied",
			"The request is not signed; the catalog returns credentials with each table")
	case err != nil:
		return signature, "", 0, &web.Problem{Status: http.StatusBadRequest, Code: "AuthorizationHeaderMalformed",
			Message: err.Error()}
	}
	holder, seconds, _ := strings.Cut(signature.Token, ".")
	if expires, err = strconv.ParseInt(seconds, 10, 64); err != nil {
		err = unknownToken
	}
	return signature, holder, expires, err
}

var unknownToken = objectProblem("InvalidAccessKeyId",
	"The access key or the session token is not one that the catalog has returned")

// verifySignature returns an error unless the request was signed with the credential.
func (a *api) verifySignature(r *http.Request, signature sigv4.Signature, credential vended) error {
	if signature.Token != credential.token() || signature.AccessKey != credential.accessKey {
		return unknownToken
	}
	_, host := a.origin(r)
	switch err := signature.Verify(r, host, credential.secret(), a.Now()); {
	case errors.Is(err, sigv4.ErrSkewed):
		return objectProblem("RequestTimeTooSkewed",
			"The time of the request differs too much from the time of the server")
	case errors.Is(err, sigv4.ErrExpired):
		return objectProblem("AccessDenied", "The presigned URL has expired")
	case err != nil:
		return objectProblem("SignatureDoesNotMatch", "The signature does not match the request")
	}
	return nil
}

// checkExpiry returns an error if the credential has expired.
func (a *api) checkExpiry(credential vended) error {
	if a.Now().Unix() < credential.expires {
		return nil
	}
	return &web.Problem{Status: http.StatusBadRequest, Code: "ExpiredToken",
		Message: "The credential has expired; load the table again"}
}

// authenticateObject returns the key that the vended credential of the request's signature was derived from.
func (a *api) authenticateObject(r *http.Request) (key control.Key, valid context.Context, err error) {
	signature, holder, expires, err := parseSignature(r)
	if err != nil {
		return key, nil, err
	}
	id, err := parseUUID(holder)
	if err != nil {
		return key, nil, unknownToken
	}
	found, valid, ended := a.Store.KeyByID(id)
	if found.ID != id {
		return key, nil, objectProblem("InvalidAccessKeyId", "The access key does not exist")
	}
	credential := a.vendedFor(found, expires)
	if err := a.verifySignature(r, signature, credential); err != nil {
		return key, nil, err
	}
	if ended != nil {
		return found, nil, objectProblem("InvalidAccessKeyId", problemOf(ended).Message)
	}
	return found, valid, a.checkExpiry(credential)
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
func (a *api) object(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	for name := range r.URL.Query() {
		if name != "x-id" && !strings.HasPrefix(name, "X-Amz-") {
			return &web.Problem{Status: http.StatusNotImplemented, Code: "NotImplemented",
				Message: "Objects have no versions, parts or other subresources"}
		}
	}
	path := mux.Vars(r)
	export, err := schema.ExportNamed(path["table"])
	if err != nil || path["namespace"] != space.name() {
		return noSuchObject
	}
	key := path["kind"] + "/" + path["name"]
	if folder, ok := path["folder"]; ok {
		key = path["kind"] + "/" + folder + "/" + path["name"]
	}
	file, size, err := space.open(r.Context(), export, tableLocation(space, export), key)
	if errors.Is(err, warehouse.ErrNotFound) {
		return noSuchObject
	}
	if err != nil {
		return err
	}
	cost := int64(0)
	if r.Method == http.MethodGet {
		_, cost = web.Ranges(r.Header.Get("Range"), file.bytes)
	}
	space.account(r, size, cost)
	w.Header().Set("Accept-Ranges", "bytes")
	return a.sendFile(w, r, file)
}

func (s tenantSpace) account(r *http.Request, table tableSize, cost int64) {
	if stateOf(r).counted {
		files := int64(table.files) + 2 // 2 for the metadata
		s.a.allowances.open(tableAllowance(r, s.key), table.bytes+files*smallFile, files, "")
	}
	s.a.allowances.charge(tableAllowance(r, s.key), cost)
}

func (s tenantSpace) open(ctx context.Context, export schema.Export, location, key string) (
	file sentFile, size tableSize, err error,
) {
	name, isData := strings.CutPrefix(key, iceberg.DataFolder)
	load := s.a.tables.Load
	if isData {
		load = s.a.tables.LoadForFile
	}
	table, err := load(ctx, s.key.Tenant, export, location)
	if err != nil {
		return file, size, err
	}
	size.files, size.bytes = table.Size()
	if !isData {
		content, modified, err := s.a.tables.Metadata(ctx, table, key)
		return metadataFile(key, content, modified), size, err
	}
	if !table.HasFile(name) {
		return file, size, warehouse.ErrNotFound
	}
	file, err = openDataFile(ctx, s.a.Store, s.key.Tenant, export, name)
	return file, size, err
}

// metadataFile returns metadata of a table as a file to send.
func metadataFile(key string, content []byte, modified time.Time) sentFile {
	sum := sha256.Sum256(content)
	_, name, _ := strings.Cut(key, "/")
	return sentFile{content: readSeekCloser{bytes.NewReader(content)}, name: name, mediaType: "application/octet-stream",
		sha256: hex.EncodeToString(sum[:]), bytes: int64(len(content)), asOf: modified, modified: modified}
}

// openDataFile opens a published file of a tenant's export, which may have been replaced.
func openDataFile(ctx context.Context, source iceberg.Source, tenant uuid.UUID, export schema.Export, name string) (
	sentFile, error,
) {
	file, content, err := source.OpenPublished(ctx, tenant, export.Name, name)
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

// encodeObjectError returns the body of an error of the API of S3. That API has neither 401 nor 429, so p gets 403 or
// 503 instead.
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
