package httpapi

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// allTenants is the namespace of the tables with the rows of all tenants.
const allTenants = "all_tenants"

// operatorHolder is the holder of the operator's credentials for objects. It is not the id of a key.
const operatorHolder = "operator"

// minOperatorToken is the minimum length of the operator's token in bytes.
const minOperatorToken = 32

// operatorTables serves the tables of all tenants. The handler of the tenants has no value of this type and no table of
// all tenants, so no fault of its routes can expose them. Neither accepts credentials of the other.
type operatorTables struct {
	*api
	source iceberg.UnionSource
	token  [sha256.Size]byte // hash of the operator's token
	key    []byte            // HMAC key of credentials for objects, which depends on the token
	unions map[string]*iceberg.Union
}

// NewOperatorTables returns the handler for the catalog and the objects of the tables of all tenants. It serves nothing
// else. The token, of at least 32 bytes, is the only credential for the catalog. The credentials for objects are void
// with another token.
func NewOperatorTables(options Options, source iceberg.UnionSource, token string) (http.Handler, error) {
	if len(token) < minOperatorToken {
		return nil, fmt.Errorf("%w: the token for the tables of all tenants has %d characters, want at least %d",
			warehouse.ErrInvalid, len(token), minOperatorToken)
	}
	mac := hmac.New(sha256.New, options.TableKey)
	mac.Write([]byte("tables of all tenants\n" + token))
	o := &operatorTables{api: newAPI(options), source: source, token: sha256.Sum256([]byte(token)), key: mac.Sum(nil),
		unions: map[string]*iceberg.Union{}}
	for _, export := range schema.Exports {
		o.unions[export.Name] = iceberg.NewUnion(source, export, tableLocation(o, export), o.Now)
	}
	access := tableAccess{
		catalog: func(h spaceHandler) handler { return o.allow(Requests, o.checkBearer, h) },
		token:   func(h spaceHandler) handler { return o.allow(Requests, o.checkClient, h) },
		objects: func(h spaceHandler) handler { return o.allow(Files, o.checkSignature, h) },
	}
	router := o.newRouter()
	o.registerCatalog(router, access)
	o.registerObjects(router, access, objectPath, objectsPath+"/{namespace}/{table}/{kind}/{folder}/{name}")
	return o.withMiddleware(router), nil
}

// allow returns a handler that authenticates the operator, acquires a slot of the work, and calls h.
func (o *operatorTables) allow(work Work, authenticate func(*http.Request) error, h spaceHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := authenticate(r); err != nil {
			return err
		}
		state, operator := stateOf(r), control.Key{}
		state.authenticated = true
		if authenticated(r.Context(), operator.Tenant) {
			w.Header().Set("Connection", "close")
		}
		release, err := o.acquire(r.Context(), work, operator)
		if err != nil {
			return err
		}
		defer release()
		state.hold(o.api, operator, release)
		return h(w, r, o)
	}
}

// checkBearer returns an error unless the bearer token of the request is that of the operator.
func (o *operatorTables) checkBearer(r *http.Request) error {
	token, _ := bearerToken(r)
	return o.checkToken(r, token)
}

// checkClient returns an error unless the client secret of a request for a token is that of the operator.
func (o *operatorTables) checkClient(r *http.Request) error {
	secret, err := clientSecret(r)
	if err != nil {
		return err
	}
	return o.checkToken(r, secret)
}

func (o *operatorTables) checkToken(r *http.Request, token string) error {
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], o.token[:]) == 1 {
		return nil
	}
	if err := o.limitGuesses(r); err != nil {
		return err
	}
	return &web.Problem{Status: http.StatusUnauthorized, Code: "INVALID_API_KEY",
		Message: "The bearer token is not that of the operator"}
}

// checkSignature returns an error unless the request was signed with a valid credential of the operator.
func (o *operatorTables) checkSignature(r *http.Request) error {
	signature, holder, expires, err := parseSignature(r)
	if err != nil {
		return err
	}
	if holder != operatorHolder {
		return unknownToken
	}
	credential := o.vendedUntil(expires)
	if err := o.verifySignature(r, signature, credential); err != nil {
		return err
	}
	return o.checkExpiry(credential)
}

func (o *operatorTables) vendedUntil(expires int64) vended {
	return vended{operatorHolder, strings.ToUpper(operatorHolder), allTenants, expires, o.key}
}

func (o *operatorTables) name() string { return allTenants }

func (o *operatorTables) vend() vended { return o.vendedUntil(o.Now().Add(maxVended).Unix()) }

func (o *operatorTables) load(ctx context.Context, export schema.Export, _ string, currentOnly bool) (
	url string, metadata []byte, err error,
) {
	return o.unions[export.Name].Load(ctx, currentOnly)
}

// account does nothing: the operator's requests have no limits but those of slots.
func (o *operatorTables) account(*http.Request, tableSize, int64) {}

func (o *operatorTables) open(ctx context.Context, export schema.Export, _, key string) (sentFile, tableSize, error) {
	path, isData := strings.CutPrefix(key, iceberg.DataFolder)
	if !isData {
		content, modified, err := o.unions[export.Name].Metadata(ctx, key)
		return metadataFile(key, content, modified), tableSize{}, err
	}
	text, name, _ := strings.Cut(path, "/")
	tenant, err := parseUUID(text)
	if err != nil || tenant.String() != text { // one key for each object
		return sentFile{}, tableSize{}, warehouse.ErrNotFound
	}
	file, err := openDataFile(ctx, o.source, tenant, export, name)
	return file, tableSize{}, err
}

// tenantProblem returns the response for the failure of one tenant's part of a table of all tenants. Only the operator
// gets it.
func tenantProblem(tenant uuid.UUID, err error) *web.Problem {
	p := *problemOf(err)
	p.Status, p.Code, p.RetryAfter = http.StatusServiceUnavailable, "DATA_UNAVAILABLE", max(p.RetryAfter, 30)
	p.Message = fmt.Sprintf("The table would lack the rows of tenant %s: %s", tenant, p.Message)
	return &p
}
