package httpapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/voicory/warehouse/httpapi/internal/web"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The catalog implements the read-only part of the REST catalog of Apache Iceberg. A credential sees one namespace,
// which has a table for each export: that of its tenant, or on a listener of its own that of all tenants. The catalog
// has no prefix: requests below it name the namespace only.
const (
	catalogPath     = "/iceberg/v1"
	namespacesPath  = catalogPath + "/namespaces"
	namespacePath   = namespacesPath + "/{namespace}"
	tablesPath      = namespacePath + "/tables"
	tablePath       = tablesPath + "/{table}"
	credentialsPath = tablePath + "/credentials"
	metricsPath     = tablePath + "/metrics"
	tokensPath      = catalogPath + "/oauth/tokens"
)

// catalogEndpoints are the endpoints that the catalog announces, in the notation of its specification.
var catalogEndpoints = []string{
	"GET /v1/{prefix}/namespaces", "GET /v1/{prefix}/namespaces/{namespace}", "HEAD /v1/{prefix}/namespaces/{namespace}",
	"GET /v1/{prefix}/namespaces/{namespace}/tables", "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}",
	"HEAD /v1/{prefix}/namespaces/{namespace}/tables/{table}",
	"GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials",
	"POST /v1/{prefix}/namespaces/{namespace}/tables/{table}/metrics",
}

// tableSpace is the namespace of a credential with its tables and their objects.
type tableSpace interface {
	// name returns the name of the namespace. The keys of its objects begin with it.
	name() string
	// load returns the metadata of the table of an export at the location, and its URL. If currentOnly is true, the
	// metadata lists only the current snapshot.
	load(ctx context.Context, export schema.Export, location string, currentOnly bool) (
		url string, metadata []byte, err error)
	// open opens the object of a table with the key relative to its location. It returns [warehouse.ErrNotFound] if the
	// table has no such object.
	open(ctx context.Context, export schema.Export, location, key string) (sentFile, tableSize, error)
	// account counts a request for an object of a table. Its response has cost bytes of the object.
	account(r *http.Request, table tableSize, cost int64)
	// vend returns a credential for the objects.
	vend() vended
}

// tableSize is the size of the current files of a table.
type tableSize struct {
	files int
	bytes int64
}

// spaceHandler is a handler for a request with an authenticated credential for a namespace.
type spaceHandler func(w http.ResponseWriter, r *http.Request, space tableSpace) error

// tableAccess authenticates requests and applies their limits, before it calls a handler with the namespace of the
// credential.
type tableAccess struct {
	catalog func(spaceHandler) handler // for requests with a bearer token
	token   func(spaceHandler) handler // for requests for a bearer token
	objects func(spaceHandler) handler // for requests with a signature
}

func (a *api) registerCatalog(router *mux.Router, access tableAccess) {
	authorize := access.catalog
	a.get(router, catalogPath+"/config", authorize(a.catalogConfig))
	a.get(router, namespacesPath, authorize(a.listNamespaces))
	a.get(router, namespacePath, authorize(inNamespace(noSuchNamespace, a.namespace)))
	a.get(router, tablesPath, authorize(inNamespace(noSuchNamespace, a.listTables)))
	// Spark first requests calls.files as a table files in a namespace. It requests the table calls only after a 404.
	a.get(router, tablePath, authorize(inNamespace(noSuchTable, a.table)))
	a.get(router, credentialsPath, authorize(inNamespace(noSuchTable, a.tableCredentials)))
	a.post(router, metricsPath, authorize(inNamespace(noSuchTable, a.scanReport)))
	a.post(router, tokensPath, access.token(a.catalogToken))
	router.PathPrefix(catalogPath + "/").Handler(a.handle("", func(_ http.ResponseWriter, r *http.Request) error {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return &web.Problem{Status: http.StatusNotFound, Code: "NOT_FOUND", Message: "No resource has this path"}
		}
		return readOnly
	}))
}

var readOnly = &web.Problem{Status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED",
	Message: "The catalog is read-only"}

var (
	noSuchNamespace = &web.Problem{Status: http.StatusNotFound, Code: "NO_SUCH_NAMESPACE",
		Message: "The namespace does not exist"}
	noSuchTable = &web.Problem{Status: http.StatusNotFound, Code: "NO_SUCH_TABLE", Message: "The table does not exist"}
)

// tenantTables returns the access of secret keys to the tables of their tenants. It has no way to other tables.
func (a *api) tenantTables() tableAccess {
	authorize := func(needs requirements) func(spaceHandler) handler {
		needs.secret = true
		return func(h spaceHandler) handler {
			return a.authorize(needs, func(w http.ResponseWriter, r *http.Request, key control.Key) error {
				return h(w, r, tenantSpace{a, key})
			})
		}
	}
	return tableAccess{
		catalog: authorize(requirements{work: Requests, authenticate: a.authenticateCatalog, limit: a.limitCatalogRequest}),
		token:   authorize(requirements{work: Requests, authenticate: a.authenticateClient, limit: a.limitCatalogRequest}),
		objects: authorize(requirements{work: Files, authenticate: a.authenticateObject, limit: a.limitObjectRequest}),
	}
}

// tenantSpace is the namespace of a key: the tables of its tenant.
type tenantSpace struct {
	a   *api
	key control.Key
}

func (s tenantSpace) name() string { return s.key.Tenant.String() }

func (s tenantSpace) load(ctx context.Context, export schema.Export, location string, currentOnly bool) (
	url string, metadata []byte, err error,
) {
	table, err := s.a.tables.Load(ctx, s.key.Tenant, export, location)
	if err != nil {
		return "", nil, err
	}
	return table.MetadataLocation(), table.Metadata(currentOnly), nil
}

// authenticateCatalog returns the key in the Authorization header, as a bearer token, or else in X-Api-Key.
func (a *api) authenticateCatalog(r *http.Request) (key control.Key, valid context.Context, err error) {
	if token, ok := bearerToken(r); ok {
		return a.authenticateText(r, token)
	}
	if r.Header.Get("X-Api-Key") == "" {
		return key, nil, &web.Problem{Status: http.StatusUnauthorized, Code: "MISSING_API_KEY",
			Message: "The request has no bearer token, which is a secret key (sk_)"}
	}
	return a.authenticate(r)
}

// bearerToken returns the bearer token in the Authorization header.
func bearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// limitCatalogRequest applies the rate limits as [api.limitRequest] does, except to requests that an allowance covers.
// The requests of a key to the catalog and to the sharing server have one allowance.
func (a *api) limitCatalogRequest(w http.ResponseWriter, r *http.Request, key control.Key) error {
	of := allowanceKey{key.ID, "/"}
	if a.allowances.spendRequest(of) {
		return nil
	}
	err := a.limitRequest(w, r, key)
	if err == nil && key.Type == control.Secret {
		a.allowances.open(of, 0, 1, "")
	}
	return err
}

// inNamespace returns a handler that returns the problem if the namespace is not that of the credential.
func inNamespace(problem *web.Problem, h spaceHandler) spaceHandler {
	return func(w http.ResponseWriter, r *http.Request, space tableSpace) error {
		if mux.Vars(r)["namespace"] != space.name() {
			return problem
		}
		return h(w, r, space)
	}
}

// catalogConfig answers with the endpoints of the catalog, and with no settings for clients. It ignores the requested
// warehouse, because the credential determines the tenant.
func (a *api) catalogConfig(w http.ResponseWriter, r *http.Request, _ tableSpace) error {
	return writeCatalog(w, r, map[string]any{"defaults": map[string]string{}, "overrides": map[string]string{},
		"endpoints": catalogEndpoints})
}

// listNamespaces answers with the namespace of the credential, which has no namespaces below it.
func (a *api) listNamespaces(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	namespaces := [][]string{}
	switch parent := r.URL.Query().Get("parent"); parent {
	case "":
		namespaces = append(namespaces, []string{space.name()})
	case space.name():
	default:
		return noSuchNamespace
	}
	return writeCatalog(w, r, map[string]any{"namespaces": namespaces, "next-page-token": nil})
}

func (a *api) namespace(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return writeCatalog(w, r, map[string]any{"namespace": []string{space.name()},
		"properties": map[string]string{"location": objectsURL + space.name()}})
}

func (a *api) listTables(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	type identifier struct {
		Namespace []string `json:"namespace"`
		Name      string   `json:"name"`
	}
	var identifiers []identifier
	for _, export := range schema.Exports {
		identifiers = append(identifiers, identifier{[]string{space.name()}, export.Name})
	}
	return writeCatalog(w, r, map[string]any{"identifiers": identifiers, "next-page-token": nil})
}

// requestedTable returns the export that the path names.
func requestedTable(r *http.Request) (schema.Export, error) {
	export, err := schema.ExportNamed(mux.Vars(r)["table"])
	if err != nil {
		err = noSuchTable
	}
	return export, err
}

// table answers with the metadata of a table and with credentials for its files.
func (a *api) table(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	export, err := requestedTable(r)
	if err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	location := tableLocation(space, export)
	url, metadata, err := space.load(r.Context(), export, location, r.URL.Query().Get("snapshots") == "refs")
	if err != nil {
		return err
	}
	config := space.vend().settings()
	return writeCatalog(w, r, map[string]any{
		"metadata-location":   url,
		"metadata":            json.RawMessage(metadata),
		"config":              config,
		"storage-credentials": a.storageCredentials(r, location, config),
	})
}

// tableCredentials answers with new credentials for the files of a table, for scans that take longer than one hour.
func (a *api) tableCredentials(w http.ResponseWriter, r *http.Request, space tableSpace) error {
	export, err := requestedTable(r)
	if err != nil {
		return err
	}
	return writeCatalog(w, r, map[string]any{
		"storage-credentials": a.storageCredentials(r, tableLocation(space, export), space.vend().settings()),
	})
}

// storageCredentials returns the settings of an S3 client with the address of this server. The settings beside the
// metadata do not have the address: Trino reads only those and has an address of its own, and ClickHouse refuses them
// with an address.
func (a *api) storageCredentials(r *http.Request, location string, settings map[string]string) any {
	type credential struct {
		Prefix string            `json:"prefix"`
		Config map[string]string `json:"config"`
	}
	scheme, host := a.origin(r)
	config := maps.Clone(settings)
	config["s3.endpoint"] = scheme + "://" + host
	return []credential{{location + "/", config}}
}

// maxScanReport is the maximum size in bytes of a report that the catalog accepts.
const maxScanReport = 1 << 20

// scanReport accepts and discards the report of an engine about its scan.
func (a *api) scanReport(w http.ResponseWriter, r *http.Request, _ tableSpace) error {
	if _, err := requestedTable(r); err != nil {
		return err
	}
	if _, err := readSmallBody(w, r, maxScanReport); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readSmallBody reads a body of at most maxBytes bytes, which must arrive within [stallTimeout].
func readSmallBody(w http.ResponseWriter, r *http.Request, maxBytes int64) ([]byte, error) {
	web.SetReadDeadline(w, time.Now().Add(stallTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &web.Problem{Status: http.StatusRequestEntityTooLarge, Code: "PAYLOAD_TOO_LARGE",
			Message: "The body may have at most " + strconv.FormatInt(maxBytes, 10) + " bytes"}
	}
	if err != nil {
		stateOf(r).impatient.Store(true)
		return nil, &web.Problem{Status: http.StatusRequestTimeout, Code: "REQUEST_TIMEOUT",
			Message: "The body did not arrive in time"}
	}
	return body, nil
}

// maxTokenBody is the maximum size in bytes of a request for a token.
const maxTokenBody = 8 << 10

// authenticateClient returns the key that is the client secret of a request for a token.
func (a *api) authenticateClient(r *http.Request) (key control.Key, valid context.Context, err error) {
	secret, err := clientSecret(r)
	if err != nil {
		return key, nil, err
	}
	return a.authenticateText(r, secret)
}

// clientSecret returns the client secret of a request for a token (RFC 6749, 4.4), in the body or in the Authorization
// header. The token that the request gets is the secret.
func clientSecret(r *http.Request) (string, error) {
	mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if mediaType != "application/x-www-form-urlencoded" {
		return "", oauthError("invalid_request", "The body is not of the type application/x-www-form-urlencoded")
	}
	body, err := readSmallBody(stateOf(r), r, maxTokenBody)
	if err != nil {
		return "", err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return "", oauthError("invalid_request", "The body is not properly escaped")
	}
	if grant := form.Get("grant_type"); grant != "client_credentials" {
		return "", oauthError("unsupported_grant_type", "The grant type must be client_credentials")
	}
	_, secret, _ := r.BasicAuth()
	if unescaped, err := url.QueryUnescape(secret); err == nil { // RFC 6749, 2.3.1
		secret = unescaped
	}
	if secret = cmp.Or(form.Get("client_secret"), secret); secret == "" {
		return "", oauthError("invalid_request", "The client secret is missing; it is the key or token for the catalog")
	}
	stateOf(r).token = secret
	return secret, nil
}

func oauthError(code, message string) error {
	return &web.Problem{Status: http.StatusBadRequest, Code: code, Message: message}
}

// catalogToken answers with a token for the catalog. The token is the client secret itself, so it is void when the
// secret is.
func (a *api) catalogToken(w http.ResponseWriter, r *http.Request, _ tableSpace) error {
	return writeCatalog(w, r, map[string]any{"access_token": stateOf(r).token, "token_type": "bearer",
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token"})
}

func writeCatalog(w http.ResponseWriter, r *http.Request, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return writeBody(w, r, http.StatusOK, "application/json", body)
}

// catalogErrors are the types of errors in the catalog's protocol, by the code or else by the status of a problem.
var catalogErrors = map[string]string{
	"NO_SUCH_NAMESPACE": "NoSuchNamespaceException", "NO_SUCH_TABLE": "NoSuchTableException",
	"400": "BadRequestException", "401": "NotAuthorizedException", "403": "ForbiddenException",
	"404": "NotFoundException", "405": "UnsupportedOperationException", "429": "TooManyRequestsException",
	"500": "InternalServerError", "503": "ServiceUnavailableException",
}

// encodeCatalogError returns the body of an error of the catalog. Errors of requests for a token that have their own
// code are those of OAuth 2.0.
func encodeCatalogError(r *http.Request, h http.Header, p *web.Problem) (mediaType string, body []byte) {
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	status := strconv.Itoa(p.Status)
	var answer any
	switch {
	case r.URL.Path == tokensPath && p.Status == http.StatusBadRequest:
		answer = map[string]string{"error": p.Code, "error_description": p.Message}
	case r.URL.Path == tokensPath && p.Status == http.StatusUnauthorized:
		answer = map[string]string{"error": "invalid_client", "error_description": p.Message}
	default:
		answer = map[string]any{"error": map[string]any{"message": p.Message, "code": p.Status,
			"type": cmp.Or(catalogErrors[p.Code], catalogErrors[status], "RESTException")}}
	}
	body, err := json.Marshal(answer)
	if err != nil {
		panic(err) // texts and numbers always encode
	}
	return "application/json", body
}
