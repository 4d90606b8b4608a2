package httpapi_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/internal/pythontest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// lake is a server whose clock tests set forward.
type lake struct {
	*bulk
	ahead atomic.Int64 // nanoseconds
}

func startLake(t *testing.T, tune ...func(*httpapi.Options)) *lake {
	t.Helper()
	l := &lake{}
	l.bulk = startBulk(t, append([]func(*httpapi.Options){func(o *httpapi.Options) {
		o.TableKey, o.Now = []byte("a key of tables"), l.time
	}}, tune...)...)
	return l
}

func (l *lake) time() time.Time { return time.Now().Add(time.Duration(l.ahead.Load())) }

// send sends a request that is not one of the API's document.
func (l *lake) send(t *testing.T, request *http.Request) answer {
	t.Helper()
	response, err := l.Client().Do(request)
	noError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

func (l *lake) request(t *testing.T, method, target, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, l.URL+target, strings.NewReader(body))
	noError(t, err)
	return request
}

// catalog makes a request to the catalog with a bearer token.
func (l *lake) catalog(t *testing.T, method, path, key string) answer {
	t.Helper()
	request := l.request(t, method, "/iceberg/v1"+path, "")
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	return l.send(t, request)
}

// loadedTable is the answer to a request for a table.
type loadedTable struct {
	MetadataLocation string `json:"metadata-location"`
	Metadata         struct {
		Location        string
		UUID            string `json:"table-uuid"`
		LastSequence    int64  `json:"last-sequence-number"`
		LastUpdated     int64  `json:"last-updated-ms"`
		CurrentSnapshot int64  `json:"current-snapshot-id"`
		Snapshots       []struct {
			ID           int64  `json:"snapshot-id"`
			Parent       int64  `json:"parent-snapshot-id"`
			Timestamp    int64  `json:"timestamp-ms"`
			ManifestList string `json:"manifest-list"`
		}
	}
	Config      map[string]string
	Credentials []struct {
		Prefix string
		Config map[string]string
	} `json:"storage-credentials"`
}

func (l *lake) load(t *testing.T, key, export string) (table loadedTable) {
	t.Helper()
	got := l.catalog(t, "GET", "/namespaces/"+mine.String()+"/tables/"+export, key)
	if got.status != 200 {
		t.Fatalf("load %s: %+v", export, got)
	}
	noError(t, json.Unmarshal([]byte(got.body), &table))
	return table
}

// list returns the URL of the manifest list of the current snapshot.
func (l loadedTable) list() string {
	return l.Metadata.Snapshots[len(l.Metadata.Snapshots)-1].ManifestList
}

func (l loadedTable) credentials() aws.Credentials {
	config := l.Credentials[0].Config
	return aws.Credentials{AccessKeyID: config["s3.access-key-id"], SecretAccessKey: config["s3.secret-access-key"],
		SessionToken: config["s3.session-token"]}
}

var emptyHash = hex.EncodeToString(sha256.New().Sum(nil))

// object makes a signed request for an object, given by its s3:// URL or its path.
func (l *lake) object(t *testing.T, method, object string, as aws.Credentials, headers ...string) answer {
	t.Helper()
	request := l.request(t, method, strings.Replace(object, "s3://", "/", 1), "")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	noError(t, v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }).SignHTTP(
		t.Context(), as, request, emptyHash, "s3", "eu-central-1", l.time()))
	return l.send(t, request)
}

func (l *lake) wantObjectError(t *testing.T, got answer, status int, code string) {
	t.Helper()
	var body struct{ Code string }
	if err := xml.Unmarshal([]byte(got.body), &body); got.status != status || err != nil || body.Code != code {
		t.Errorf("got %d %s, want %d %s", got.status, got.body, status, code)
	}
}

func TestCatalog_ServesTheTablesOfTheTenant(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	var config struct{ Endpoints []string }
	got := l.catalog(t, "GET", "/config?warehouse=anything", l.secret)
	if err := json.Unmarshal([]byte(got.body), &config); err != nil || len(config.Endpoints) == 0 {
		t.Fatalf("got config %+v", got)
	}
	for _, endpoint := range config.Endpoints { // each announced endpoint exists
		method, path, _ := strings.Cut(endpoint, " /v1/{prefix}")
		path = strings.NewReplacer("{namespace}", mine.String(), "{table}", "calls").Replace(path)
		if got := l.catalog(t, method, path, l.secret); got.status >= 300 {
			t.Errorf("%s: got %+v", endpoint, got)
		}
	}
	for path, want := range map[string]string{
		"/namespaces":                         `{"namespaces":[["` + mine.String() + `"]],"next-page-token":null}`,
		"/namespaces?parent=":                 `{"namespaces":[["` + mine.String() + `"]],"next-page-token":null}`,
		"/namespaces?pageToken":               `{"namespaces":[["` + mine.String() + `"]],"next-page-token":null}`,
		"/namespaces?parent=" + mine.String(): `{"namespaces":[],"next-page-token":null}`,
	} {
		if got := l.catalog(t, "GET", path, l.secret); got.body != want {
			t.Errorf("%s: got %+v, want %s", path, got, want)
		}
	}
	for _, export := range schema.Exports {
		if got := l.catalog(t, "GET", "/namespaces/"+mine.String()+"/tables", l.secret); !strings.Contains(got.body,
			`{"namespace":["`+mine.String()+`"],"name":"`+export.Name+`"}`) {
			t.Errorf("the list of tables lacks %s: %s", export.Name, got.body)
		}
		table := l.load(t, l.secret, export.Name)
		config := table.Credentials[0].Config
		if config["s3.endpoint"] != l.URL || !strings.HasPrefix(table.Metadata.Location+"/", table.Credentials[0].Prefix) {
			t.Errorf("%s: got storage credentials %v", export.Name, table.Credentials)
		}
		delete(config, "s3.endpoint")
		if fmt.Sprint(config) != fmt.Sprint(table.Config) || !strings.HasPrefix(table.MetadataLocation,
			table.Metadata.Location) {
			t.Errorf("%s: got settings %v and %v, want the same without the endpoint", export.Name, table.Config, config)
		}
		if got := l.object(t, "GET", table.MetadataLocation, table.credentials()); got.status != 200 ||
			!json.Valid([]byte(got.body)) {
			t.Errorf("%s: got metadata %+v", export.Name, got)
		}
	}
}

func TestCatalog_RefusesWritesAndOtherTenants(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	namespace, other := "/namespaces/"+mine.String(), "/namespaces/"+theirs.String()
	for _, test := range []struct {
		method, path, key string
		status            int
		typ               string
	}{
		{"POST", "/namespaces", l.secret, 405, "UnsupportedOperationException"},
		{"DELETE", namespace, l.secret, 405, "UnsupportedOperationException"},
		{"POST", namespace + "/properties", l.secret, 405, "UnsupportedOperationException"},
		{"POST", namespace + "/tables", l.secret, 405, "UnsupportedOperationException"},
		{"POST", namespace + "/tables/calls", l.secret, 405, "UnsupportedOperationException"},
		{"DELETE", namespace + "/tables/calls", l.secret, 405, "UnsupportedOperationException"},
		{"POST", namespace + "/register", l.secret, 405, "UnsupportedOperationException"},
		{"POST", "/tables/rename", l.secret, 405, "UnsupportedOperationException"},
		{"POST", "/transactions/commit", l.secret, 405, "UnsupportedOperationException"},
		{"POST", namespace + "/views", l.secret, 405, "UnsupportedOperationException"},
		{"GET", other, l.secret, 404, "NoSuchNamespaceException"},
		{"HEAD", other, l.secret, 404, ""},
		{"GET", other + "/tables", l.secret, 404, "NoSuchNamespaceException"},
		{"GET", other + "/tables/calls", l.secret, 404, "NoSuchTableException"},
		{"HEAD", other + "/tables/calls", l.secret, 404, ""},
		{"GET", other + "/tables/calls/credentials", l.secret, 404, "NoSuchTableException"},
		{"POST", other + "/tables/calls/metrics", l.secret, 404, "NoSuchTableException"},
		{"GET", "/namespaces?parent=" + theirs.String(), l.secret, 404, "NoSuchNamespaceException"},
		{"GET", namespace + "/tables/nothing", l.secret, 404, "NoSuchTableException"},
		{"HEAD", namespace + "/tables/nothing", l.secret, 404, ""},
		{"POST", namespace + "/tables/nothing/metrics", l.secret, 404, "NoSuchTableException"},
		{"GET", namespace + "%1Fcalls/tables/files", l.secret, 404, "NoSuchTableException"}, // the table calls.files of Spark
		{"GET", "/nothing", l.secret, 404, "NotFoundException"},
		{"GET", "/config", "", 401, "NotAuthorizedException"},
		{"GET", "/config", l.old, 401, "NotAuthorizedException"},
		{"GET", "/config", "sk_00000000000000000000000000000000", 401, "NotAuthorizedException"},
		{"GET", "/config", l.key, 403, "ForbiddenException"},
	} {
		got := l.catalog(t, test.method, test.path, test.key)
		var body struct {
			Error struct{ Type, Message string }
		}
		if test.method != "HEAD" {
			noError(t, json.Unmarshal([]byte(got.body), &body))
		}
		if got.status != test.status || body.Error.Type != test.typ {
			t.Errorf("%s %s: got %d %s, want %d %s", test.method, test.path, got.status, got.body, test.status, test.typ)
		}
	}
}

func TestCatalog_TokenIsTheKey(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {"any"}, "client_secret": {l.secret},
		"scope": {"catalog"}}
	with := func(name, value string) url.Values {
		changed := url.Values{}
		for n, v := range form {
			changed[n] = v
		}
		changed.Set(name, value)
		return changed
	}
	for name, test := range map[string]struct {
		form   url.Values
		basic  string
		status int
		want   string
	}{
		"secret in the body":   {form, "", 200, `"access_token":"` + l.secret + `"`},
		"secret in the header": {with("client_secret", ""), l.secret, 200, `"access_token":"` + l.secret + `"`},
		"no secret":            {with("client_secret", ""), "", 400, `"error":"invalid_request"`},
		"unknown secret": {with("client_secret", "sk_00000000000000000000000000000000"), "", 401,
			`"error":"invalid_client"`},
		"revoked secret": {with("client_secret", l.old), "", 401, `"error":"invalid_client"`},
		"other grant":    {with("grant_type", "password"), "", 400, `"error":"unsupported_grant_type"`},
		"public key":     {with("client_secret", l.key), "", 403, `ForbiddenException`},
		"large body":     {with("x", strings.Repeat("x", 9000)), "", 413, `"code":413`},
	} {
		request := l.request(t, "POST", "/iceberg/v1/oauth/tokens", test.form.Encode())
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if test.basic != "" {
			request.SetBasicAuth("any", test.basic)
		}
		if got := l.send(t, request); got.status != test.status || !strings.Contains(got.body, test.want) {
			t.Errorf("%s: got %d %s, want %d with %s", name, got.status, got.body, test.status, test.want)
		}
	}
}

func TestObjects_AreThoseOfTheTenantsTables(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	for _, export := range schema.Exports {
		table := l.load(t, l.secret, export.Name)
		as := table.credentials()
		list := l.object(t, "GET", table.list(), as)
		if list.status != 200 || !strings.HasPrefix(list.body, "Obj\x01") {
			t.Errorf("%s: got manifest list %+v", export.Name, list)
		}
		for _, file := range l.files(t, l.secret, export.Name, "") {
			path := table.Metadata.Location + "/data/" + file.Name
			whole := l.object(t, "GET", path, as)
			if sum := sha256.Sum256([]byte(whole.body)); whole.status != 200 || hex.EncodeToString(sum[:]) != file.SHA256 {
				t.Errorf("%s: got status %d and %d bytes", path, whole.status, len(whole.body))
			}
			if head := l.object(t, "HEAD", path, as); head.status != 200 ||
				head.header.Get("Content-Length") != fmt.Sprint(file.Bytes) || head.header.Get("Last-Modified") == "" {
				t.Errorf("%s: got HEAD %+v", path, head)
			}
			part := l.object(t, "GET", path, as, "Range", "bytes=-8")
			if part.status != 206 || part.body != whole.body[len(whole.body)-8:] {
				t.Errorf("%s: got range %+v", path, part)
			}
			l.wantObjectError(t, l.object(t, "GET", path, as, "Range", "bytes=99999999-"), 416, "InvalidRange")
		}
	}
	table := l.load(t, l.secret, "calls")
	as, list := table.credentials(), table.list()
	another := strings.Replace(list, mine.String(), theirs.String(), 1)
	name := l.files(t, l.secret, "calls", "")[0].Name
	foreign := l.files(t, l.another, "calls", "")[0].Name
	for _, path := range []string{another, list + "x", table.Metadata.Location, table.Metadata.Location + "/",
		"/voicory/x",
		"/voicory/" + theirs.String() + "/calls/data/" + foreign, "/voicory/" + mine.String() + "/calls/data/" + foreign,
		"/voicory/" + mine.String() + "/messages/data/" + name, "/voicory/" + mine.String() + "/calls/metadata/" + name,
		"/voicory/" + mine.String() + "/calls/data/../../" + theirs.String() + "/calls/data/" + foreign,
		"/voicory/" + strings.ToUpper(mine.String()) + "/calls/data/" + name} {
		l.wantObjectError(t, l.object(t, "GET", path, as), 404, "NoSuchKey")
		if got := l.object(t, "HEAD", path, as); got.status != 404 {
			t.Errorf("HEAD %s: got status %d", path, got.status)
		}
	}
	for _, path := range []string{"/voicory", "/voicory/", "/voicory?list-type=2&prefix=" + mine.String()} {
		l.wantObjectError(t, l.object(t, "GET", path, as), 403, "AccessDenied")
	}
	for _, method := range []string{"PUT", "POST", "DELETE"} {
		l.wantObjectError(t, l.object(t, method, list, as), 405, "MethodNotAllowed")
	}
	l.wantObjectError(t, l.object(t, "GET", list+"?acl", as), 501, "NotImplemented")
	if got := l.object(t, "GET", list+"?x-id=GetObject", as); got.status != 200 {
		t.Errorf("got %+v with the name of the operation", got)
	}
}

func TestObjects_CredentialsAreBoundToKeyTenantAndTime(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	table := l.load(t, l.secret, "calls")
	as, list := table.credentials(), table.list()
	change := func(change func(*aws.Credentials)) aws.Credentials {
		changed := as
		change(&changed)
		return changed
	}
	other := l.catalog(t, "GET", "/namespaces/"+theirs.String()+"/tables/calls", l.another)
	var theirTable loadedTable
	noError(t, json.Unmarshal([]byte(other.body), &theirTable))
	theirAs := theirTable.credentials()
	id, _, _ := strings.Cut(as.SessionToken, ".")
	for name, test := range map[string]struct {
		as     aws.Credentials
		status int
		code   string
	}{
		"other secret": {change(func(c *aws.Credentials) { c.SecretAccessKey = theirAs.SecretAccessKey }), 403,
			"SignatureDoesNotMatch"},
		"other access key": {change(func(c *aws.Credentials) { c.AccessKeyID = theirAs.AccessKeyID }), 403,
			"InvalidAccessKeyId"},
		"other token": {change(func(c *aws.Credentials) { c.SessionToken = theirAs.SessionToken }), 403,
			"InvalidAccessKeyId"},
		"no token": {change(func(c *aws.Credentials) { c.SessionToken = "" }), 403, "InvalidAccessKeyId"},
		"later token": {change(func(c *aws.Credentials) { c.SessionToken = id + ".9999999999" }), 403,
			"SignatureDoesNotMatch"},
		"padded token": {change(func(c *aws.Credentials) { c.SessionToken = strings.Replace(as.SessionToken, ".", ".0", 1) }),
			403, "InvalidAccessKeyId"},
		"unknown key": {change(func(c *aws.Credentials) { c.SessionToken = mine.String() + ".9999999999" }), 403,
			"InvalidAccessKeyId"},
		"other tenant": {theirAs, 404, "NoSuchKey"},
	} {
		t.Run(name, func(t *testing.T) { l.wantObjectError(t, l.object(t, "GET", list, test.as), test.status, test.code) })
	}
	signed := func(at time.Time, presign string) answer {
		t.Helper()
		request := l.request(t, "GET", strings.Replace(list, "s3://", "/", 1)+presign, "")
		signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
		if presign == "" {
			noError(t, signer.SignHTTP(t.Context(), as, request, emptyHash, "s3", "us-east-1", at))
			return l.send(t, request)
		}
		target, _, err := signer.PresignHTTP(t.Context(), as, request, "UNSIGNED-PAYLOAD", "s3", "us-east-1", at)
		noError(t, err)
		return l.send(t, l.request(t, "GET", strings.TrimPrefix(target, l.URL), ""))
	}
	for _, skew := range []time.Duration{-14 * time.Minute, 14 * time.Minute} {
		if got := signed(time.Now().Add(skew), ""); got.status != 200 {
			t.Errorf("got %+v with a skew of %v", got, skew)
		}
		l.wantObjectError(t, signed(time.Now().Add(skew/14*16), ""), 403, "RequestTimeTooSkewed")
	}
	if got := signed(time.Now().Add(-30*time.Minute), "?X-Amz-Expires=3000"); got.status != 200 {
		t.Errorf("got %+v for a presigned URL", got)
	}
	l.wantObjectError(t, signed(time.Now().Add(-51*time.Minute), "?X-Amz-Expires=3000"), 403, "AccessDenied")
	l.wantObjectError(t, l.send(t, l.request(t, "GET", strings.Replace(list, "s3://", "/", 1), "")), 403, "AccessDenied")

	l.ahead.Store(int64(time.Hour))
	l.wantObjectError(t, l.object(t, "GET", list, as), 400, "ExpiredToken")
	l.ahead.Store(0)
	soon := time.Now().Add(30 * time.Minute)
	_, text, err := l.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{ExpiresAt: &soon})
	noError(t, err)
	if got, want := l.load(t, text, "calls").Config["s3.session-token-expires-at-ms"],
		fmt.Sprint(soon.Unix()*1000); got != want {
		t.Errorf("got expiry %s of the credential, want that of the key, %s", got, want)
	}
	_, err = l.warehouse.RevokeKey(t.Context(), l.id)
	noError(t, err)
	l.wantObjectError(t, l.object(t, "GET", list, as), 403, "InvalidAccessKeyId")
}

func TestObjects_SnapshotsStayReadableForOneHour(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	before := l.load(t, l.secret, "calls")
	file := l.files(t, l.secret, "calls", "")[0]
	merge(t, l.warehouse, schema.Calls,
		fmt.Sprintf(`{"user_id":%q,"id":%q,"status":"failed","created_at":"2026-02-03T12:00:00Z"}`,
			mine, id(61)))
	_, err := l.warehouse.Publish(t.Context())
	noError(t, err)
	after := l.load(t, l.secret, "calls")
	if len(after.Metadata.Snapshots) != 2 || after.list() == before.list() {
		t.Fatalf("got snapshots %+v after a second publication", after.Metadata.Snapshots)
	}
	old := []string{before.MetadataLocation, before.list(), before.Metadata.Location + "/data/" + file.Name}
	for _, object := range old {
		if got := l.object(t, "GET", object, after.credentials()); got.status != 200 {
			t.Errorf("%s: got %+v within the hour", object, got)
		}
	}
	l.ahead.Store(int64(time.Hour))
	later := l.load(t, l.secret, "calls")
	for _, object := range old {
		l.wantObjectError(t, l.object(t, "GET", object, later.credentials()), 404, "NoSuchKey")
	}
	if got := l.object(t, "GET", later.list(), later.credentials()); got.status != 200 {
		t.Errorf("got %+v for the current snapshot", got)
	}
}

// corrupt changes one bit of a file.
func corrupt(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	content, err := os.ReadFile(path)
	noError(t, err)
	content[len(content)/2] ^= 1
	noError(t, os.WriteFile(path, content, 0o600))
}

func TestObjects_DamagedFileIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := ""
	l := startLake(t, func(o *httpapi.Options) { dir = o.Store.(*warehouse.Warehouse).PublishedDirs(mine)[0] })
	table := l.load(t, l.secret, "customers")
	name := l.files(t, l.secret, "customers", "")[0].Name
	corrupt(t, dir, name)
	for _, object := range []string{table.Metadata.Location + "/data/" + name, table.list()} {
		got := l.object(t, "GET", object, table.credentials())
		l.wantObjectError(t, got, 503, "ServiceUnavailable")
		if got.header.Get("Retry-After") == "" {
			t.Errorf("%s: got no Retry-After", object)
		}
	}
}

func TestObjects_ScanOfATableCountsAsOneRequest(t *testing.T) {
	t.Parallel()
	l := startLake(t, func(o *httpapi.Options) {
		o.Limiter, o.Rules = limit.NewMemory(100, o.Now), limit.Rules{{Max: 4, Window: time.Minute}}
	})
	large := make([]byte, 1<<20)
	rand.Read(large)
	merge(t, l.warehouse, schema.Calls,
		fmt.Sprintf(`{"user_id":%q,"id":%q,"metadata":{"x":%q},"created_at":"2026-02-03T12:00:00Z"}`,
			mine, id(61), hex.EncodeToString(large)))
	_, err := l.warehouse.Publish(t.Context())
	noError(t, err)
	files := l.files(t, l.secret, "calls", "") // 1
	for range 3 {
		l.load(t, l.secret, "calls") // 2, with all other requests to the catalog
	}
	table := l.load(t, l.secret, "calls")
	objects := []string{table.MetadataLocation, table.list()}
	for _, file := range files {
		objects = append(objects, table.Metadata.Location+"/data/"+file.Name)
	}
	for _, object := range slices.Concat(objects, objects[:2]) { // 3
		for _, part := range []string{"bytes=0-3", "bytes=-4", "bytes=4-11"} {
			if got := l.object(t, "GET", object, table.credentials(), "Range", part); got.status != 206 {
				t.Fatalf("%s: got %+v", object, got)
			}
		}
	}
	var size, read int64
	for _, file := range files {
		size += file.Bytes
	}
	bound := 2*size + 512<<10*int64(len(files)+2)
	for range 20 { // the bytes of the allowance are used up, so that a request counts: 4
		for _, object := range objects[2:] {
			got := l.object(t, "GET", object, table.credentials())
			if got.status == 200 {
				read += int64(len(got.body))
				continue
			}
			l.wantObjectError(t, got, 503, "SlowDown")
			if read < bound || read > 2*(bound+size) || got.header.Get("Retry-After") == "" {
				t.Errorf("got %d bytes before %+v, want at least %d", read, got, bound)
			}
			return
		}
	}
	t.Error("the allowance of a table has no bound")
}

// publishJune publishes calls of June with a cost of 0.5, one after the other, until stop is called. published is their
// number, which is at least 1.
func (l *lake) publishJune(t *testing.T) (published *atomic.Int64, stop func()) {
	t.Helper()
	published = new(atomic.Int64)
	publish := func(n int) error {
		merge(t, l.warehouse, schema.Calls,
			fmt.Sprintf(`{"user_id":%q,"id":%q,"cost":0.5,"created_at":"2026-06-03T12:00:00Z"}`,
				mine, id(100+n)))
		_, err := l.warehouse.Publish(t.Context())
		published.Add(1)
		return err
	}
	noError(t, publish(0))
	done, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		pace := time.NewTicker(300 * time.Millisecond) // the client has most of the machine
		defer pace.Stop()
		for n := 1; ; n++ {
			select {
			case <-done:
				stopped <- nil
				return
			case <-pace.C:
			}
			if err := publish(n); err != nil {
				stopped <- err
				return
			}
		}
	}()
	return published, func() {
		close(done)
		noError(t, <-stopped)
	}
}

// Engines read the tables with the examples of the documentation, while rows are published.
func TestCatalog_EnginesReadEveryTable(t *testing.T) {
	t.Parallel()
	python := pythontest.Python(t, "duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5",
		"duckdb-extension-httpfs==1.5.5", "pyiceberg==0.12.0", "pyarrow==26.0.1", "polars==2.1.0", "chdb==4.4.0")
	l := startLake(t)
	published, stop := l.publishJune(t)
	command := exec.CommandContext(t.Context(), python, "testdata/tables.py", l.URL, l.secret, mine.String(),
		"../docs/tables.md")
	out, err := command.Output()
	stop()
	if failure := (*exec.ExitError)(nil); errors.As(err, &failure) {
		t.Fatalf("%v: %s", err, failure.Stderr)
	}
	noError(t, err)
	var found struct {
		DuckDB map[string]struct {
			Rows  int64
			Types map[string]string
		}
		PyIceberg map[string]struct {
			Rows     int64
			Comments map[string]string
		}
		ClickHouse map[string]int64
		Polars     int64
		June       [][]any
		Files      int `json:"june files"`
	}
	noError(t, json.Unmarshal(out, &found))
	for _, export := range schema.Exports {
		var rows int64
		for _, file := range l.files(t, l.secret, export.Name, "") {
			rows += file.Rows
		}
		duck, py, click := found.DuckDB[export.Name], found.PyIceberg[export.Name], found.ClickHouse[export.Name]
		counts := []int64{duck.Rows, click, py.Rows, rows} // in the order of time
		if export.Name == "calls" {
			counts = slices.Insert(counts, 1, found.Polars)
		}
		grows := export.Source.Name == "calls"
		if counts[0] == 0 || !slices.IsSorted(counts) || !grows && counts[0] != rows {
			t.Errorf("%s: got %d rows, one engine after the other", export.Name, counts)
		}
		for _, c := range export.Columns {
			want := c.Type
			if want == "JSON" {
				want = "VARCHAR"
			}
			if duck.Types[c.Name] != want || py.Comments[c.Name] != c.Comment() {
				t.Errorf("%s.%s: got type %s and comment %q", export.Name, c.Name, duck.Types[c.Name], py.Comments[c.Name])
			}
		}
	}
	last := 0.0
	for _, round := range found.June {
		count, usd := round[1].(float64), round[2].(float64)
		if usd != count/2 || count < last || count > float64(published.Load()) {
			t.Errorf("got %v rows with %v USD after %v rows, which no publication has", count, usd, last)
		}
		last = count
	}
	if len(found.June) != 10 || last < 2 || found.Files != 1 {
		t.Errorf("got rounds %v and %d files of June", found.June, found.Files)
	}
}
