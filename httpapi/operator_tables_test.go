package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/openapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const operatorToken = "a token of the operator, 0123456789abcdef"

// startOperator starts the server of the tables of all tenants beside a lake, with the same clock.
func startOperator(t *testing.T) (tenants, operator *lake, options httpapi.Options) {
	t.Helper()
	tenants = startLake(t, func(o *httpapi.Options) { options = *o })
	operator = serveOperator(t, tenants, options, operatorToken)
	return tenants, operator, options
}

func serveOperator(t *testing.T, tenants *lake, options httpapi.Options, token string) *lake {
	t.Helper()
	handler, err := httpapi.NewOperatorTables(options, tenants.warehouse, token)
	noError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return &lake{bulk: &bulk{api: &api{Server: server, warehouse: tenants.warehouse}}}
}

func (l *lake) loadAll(t *testing.T, export string) (table loadedTable) {
	t.Helper()
	got := l.catalog(t, "GET", "/namespaces/all_tenants/tables/"+export, operatorToken)
	if got.status != 200 {
		t.Fatalf("load %s: %+v", export, got)
	}
	noError(t, json.Unmarshal([]byte(got.body), &table))
	return table
}

func TestOperatorTables_HaveTheFilesOfAllTenants(t *testing.T) {
	tenants, operator, _ := startOperator(t)
	if got := operator.catalog(t, "GET", "/namespaces",
		operatorToken); got.body != `{"namespaces":[["all_tenants"]],"next-page-token":null}` {
		t.Errorf("got namespaces %+v", got)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_secret": {operatorToken}}
	request := operator.request(t, "POST", "/iceberg/v1/oauth/tokens", form.Encode())
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if got := operator.send(t, request); got.status != 200 || !strings.Contains(got.body, operatorToken) {
		t.Errorf("got token %+v", got)
	}
	for _, export := range schema.Exports {
		table := operator.loadAll(t, export.Name)
		as := table.credentials()
		list := operator.object(t, "GET", table.list(), as)
		for tenant, key := range map[uuid.UUID]string{mine: tenants.secret, theirs: tenants.another} {
			for _, file := range tenants.files(t, key, export.Name, "") {
				if !strings.Contains(list.body, "metadata/"+tenant.String()) {
					t.Errorf("%s: the manifest list lacks tenant %s", export.Name, tenant)
				}
				path := table.Metadata.Location + "/data/" + tenant.String() + "/" + file.Name
				got := operator.object(t, "GET", path, as, "Range", "bytes=-4")
				if got.status != 206 || got.body != "PAR1" {
					t.Errorf("%s: got %+v", path, got)
				}
				for _, wrong := range []string{strings.Replace(path, tenant.String(), nobody.String(), 1),
					strings.Replace(path, tenant.String()+"/", "", 1), strings.Replace(path, tenant.String(),
						strings.ToUpper(tenant.String()), 1),
					strings.Replace(path, "all_tenants", tenant.String(), 1), strings.Replace(path, "/data/", "/data/../data/", 1)} {
					if got := operator.object(t, "HEAD", wrong, as); got.status != 404 {
						t.Errorf("%s: got %+v", wrong, got)
					}
				}
			}
		}
	}
	table := operator.loadAll(t, "calls")
	operator.wantObjectError(t, operator.object(t, "PUT", table.list(), table.credentials()), 405, "MethodNotAllowed")
	operator.wantObjectError(t, operator.object(t, "GET", "/voicory?list-type=2", table.credentials()), 403,
		"AccessDenied")
	if got := operator.catalog(t, "POST", "/namespaces/all_tenants/tables", operatorToken); got.status != 405 {
		t.Errorf("got %+v for a write", got)
	}
}

// No credential of one listener is accepted by the other, and the listener of the operator has no other routes.
func TestOperatorTables_ListenersShareNoCredential(t *testing.T) {
	tenants, operator, options := startOperator(t)
	another := serveOperator(t, tenants, options, "another token of the operator, 0123456789")
	for name, test := range map[string]struct {
		at     *lake
		token  string
		status int
	}{
		"operator's token for tenants":          {tenants, operatorToken, 401},
		"secret key for the operator":           {operator, tenants.secret, 401},
		"public key for the operator":           {operator, tenants.key, 401},
		"no token for the operator":             {operator, "", 401},
		"part of the token":                     {operator, operatorToken[1:], 401},
		"longer token":                          {operator, operatorToken + "0", 401},
		"token of another server":               {another, operatorToken, 401},
		"operator's token for the operator":     {operator, operatorToken, 200},
		"secret key for its tenant":             {tenants, tenants.secret, 200},
		"expired key of a tenant, for operator": {operator, tenants.old, 401},
	} {
		if got := test.at.catalog(t, "GET", "/namespaces", test.token); got.status != test.status {
			t.Errorf("%s: got %+v, want status %d", name, got, test.status)
		}
	}
	if got := tenants.catalog(t, "GET", "/namespaces/all_tenants/tables/calls", tenants.secret); got.status != 404 {
		t.Errorf("got %+v for the tables of all tenants with a key", got)
	}

	all, own := operator.loadAll(t, "calls"), tenants.load(t, tenants.secret, "calls")
	file := "/data/" + mine.String() + "/" + tenants.files(t, tenants.secret, "calls", "")[0].Name
	objects := []string{all.list(), all.MetadataLocation, all.Metadata.Location + file, own.list(), own.MetadataLocation}
	mixed := own.credentials()
	mixed.SessionToken = all.credentials().SessionToken
	renamed := all.credentials()
	renamed.SessionToken = strings.Replace(renamed.SessionToken, "operator", uuid.Nil.String(), 1)
	for _, object := range objects {
		for _, test := range []struct {
			at   *lake
			as   aws.Credentials
			code string
		}{
			{tenants, all.credentials(), "InvalidAccessKeyId"}, {operator, own.credentials(), "InvalidAccessKeyId"},
			{another, all.credentials(), "SignatureDoesNotMatch"}, {operator, mixed, "InvalidAccessKeyId"},
			{tenants, mixed, "InvalidAccessKeyId"}, {tenants, renamed, "InvalidAccessKeyId"},
			{operator, renamed, "InvalidAccessKeyId"},
		} {
			test.at.wantObjectError(t, test.at.object(t, "GET", object, test.as), 403, test.code)
		}
	}
	for _, object := range objects[:3] {
		tenants.wantObjectError(t, tenants.object(t, "GET", object, own.credentials()), 404, "NoSuchKey")
	}
	tenants.ahead.Store(int64(time.Hour)) // the clock of all servers
	operator.ahead.Store(int64(time.Hour))
	operator.wantObjectError(t, operator.object(t, "GET", all.list(), all.credentials()), 400, "ExpiredToken")
	operator.ahead.Store(0)
	tenants.ahead.Store(0)

	response := httptest.NewRecorder()
	openapi.Document().ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), "GET", "/openapi.json",
		http.NoBody))
	var document struct{ Paths map[string]any }
	noError(t, json.Unmarshal(response.Body.Bytes(), &document))
	paths := []string{"/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/"}
	for path := range document.Paths {
		paths = append(paths, path)
	}
	for _, path := range paths {
		path = strings.NewReplacer("{", "", "}", "").Replace(path)
		request := operator.request(t, "GET", path, "")
		request.Header.Set("X-Api-Key", tenants.secret)
		if got := operator.send(t, request); !strings.HasPrefix(path, "/iceberg") && got.status != 404 {
			t.Errorf("%s: got %+v from the operator's listener", path, got)
		}
	}
	if len(paths) < 20 {
		t.Errorf("got %d paths of the document", len(paths))
	}
}

// The tables name the tenant whose rows they would lack, and work again when the rows can be read.
func TestOperatorTables_NameATenantThatCannotBeRead(t *testing.T) {
	tenants, operator, _ := startOperator(t)
	operator.loadAll(t, "calls")
	published := tenants.warehouse.PublishedDirs(theirs)[0]
	noError(t, os.Rename(published, published+".away"))
	noError(t, os.WriteFile(published, nil, 0o600)) // no file can be written there
	merge(t, tenants.warehouse, schema.Calls, `{"user_id":"`+theirs.String()+`","id":"`+id(901)+
		`","created_at":"2026-01-02"}`)
	_, err := tenants.warehouse.Publish(t.Context())
	var failed warehouse.PublishErrors
	if !errors.As(err, &failed) {
		t.Fatalf("got %v, want a failure of the publication", err)
	}
	got := operator.catalog(t, "GET", "/namespaces/all_tenants/tables/calls", operatorToken)
	if got.status != 503 || !strings.Contains(got.body, theirs.String()) || strings.Contains(got.body, mine.String()) {
		t.Errorf("got %+v, want 503 that names the tenant", got)
	}
	noError(t, os.Remove(published))
	noError(t, os.Rename(published+".away", published))
	_, err = tenants.warehouse.Publish(t.Context())
	noError(t, err)
	table := operator.loadAll(t, "calls")
	if got := operator.object(t, "GET", table.list(), table.credentials()); got.status != 200 ||
		!strings.Contains(got.body, theirs.String()) {
		t.Errorf("got manifest list %+v after the publication", got)
	}
}

func TestNewOperatorTables_RefusesAShortToken(t *testing.T) {
	for _, token := range []string{"", strings.Repeat("x", 31)} {
		if _, err := httpapi.NewOperatorTables(httpapi.Options{}, nil, token); !errors.Is(err, warehouse.ErrInvalid) {
			t.Errorf("got %v for a token of %d characters", err, len(token))
		}
	}
}
