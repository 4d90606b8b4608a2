package httpapi_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/internal/pythontest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// shared makes a request to the sharing server with a bearer token.
func (l *lake) shared(t *testing.T, method, path, key, body string, headers ...string) answer {
	t.Helper()
	request := l.request(t, method, "/sharing/v1"+path, body)
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return l.send(t, request)
}

var sharedTables = "/shares/voicory/schemas/" + mine.String() + "/tables"

// sharedFile is a file in the answer to a query.
type sharedFile struct {
	URL               string
	ID                string
	Size              int64
	PartitionValues   map[string]string
	Stats             string
	Version           int64
	Timestamp         int64
	Expires           int64 `json:"expirationTimestamp"`
	DeltaSingleAction struct {
		Add struct {
			Path, Stats string
			Size        int64
			DataChange  bool
		}
	}
}

// sharedTable is the answer to a query.
type sharedTable struct {
	version  int64
	format   string
	protocol map[string]any
	metadata struct {
		ID, Name, SchemaString string
		PartitionColumns       []string
		NumFiles               int
		DeltaMetadata          *struct{ ID, SchemaString string }
	}
	files []sharedFile
}

func (l *lake) query(t *testing.T, table, body string, headers ...string) (found sharedTable) {
	t.Helper()
	got := l.shared(t, "POST", sharedTables+"/"+table+"/query", l.secret, body, headers...)
	if got.status != 200 || got.header.Get("Content-Type") != "application/x-ndjson; charset=utf-8" {
		t.Fatalf("query %s with %s: got %+v", table, body, got)
	}
	var err error
	found.version, err = strconv.ParseInt(got.header.Get("Delta-Table-Version"), 10, 64)
	noError(t, err)
	found.format = got.header.Get("Delta-Sharing-Capabilities")
	for i, line := range strings.Split(strings.TrimSuffix(got.body, "\n"), "\n") {
		var action struct {
			Protocol map[string]any
			MetaData json.RawMessage
			File     sharedFile
		}
		noError(t, json.Unmarshal([]byte(line), &action))
		switch i {
		case 0:
			found.protocol = action.Protocol
		case 1:
			noError(t, json.Unmarshal(action.MetaData, &found.metadata))
		default:
			found.files = append(found.files, action.File)
		}
	}
	return found
}

// names returns the names of the files, sorted.
func (s sharedTable) names() (names []string) {
	for _, file := range s.files {
		location, _, _ := strings.Cut(file.URL, "?")
		names = append(names, path.Base(location))
	}
	slices.Sort(names)
	return names
}

// download requests the URL of a file.
func (l *lake) download(t *testing.T, method, url string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	noError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return l.send(t, request)
}

func (l *lake) wantSharingError(t *testing.T, got answer, status int, code string) {
	t.Helper()
	var body struct{ ErrorCode, Message string }
	if err := json.Unmarshal([]byte(got.body), &body); got.status != status || err != nil || body.ErrorCode != code ||
		body.Message == "" {
		t.Errorf("got %d %s, want %d %s", got.status, got.body, status, code)
	}
}

func TestSharing_ListsTheTablesOfTheTenant(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	type list struct {
		Items []struct{ Name, Schema, Share, ID string }
		Next  string `json:"nextPageToken"`
	}
	page := func(path string) (found list) {
		got := l.shared(t, "GET", path, l.secret, "")
		if err := json.Unmarshal([]byte(got.body), &found); err != nil || got.status != 200 {
			t.Errorf("%s: got %+v", path, got)
		}
		return found
	}
	share := page("/shares").Items
	if len(share) != 1 || share[0].Name != "voicory" || share[0].ID == "" {
		t.Errorf("got shares %+v", share)
	}
	if got := l.shared(t, "GET", "/shares/VOICORY", l.secret, ""); !strings.Contains(got.body,
		`{"share":{"name":"voicory",`) {
		t.Errorf("got share %+v", got)
	}
	if got := page("/shares/voicory/schemas").Items; len(got) != 1 || got[0].Name != mine.String() ||
		got[0].Share != "voicory" {
		t.Errorf("got schemas %+v", got)
	}
	var want []string
	for _, export := range schema.Exports {
		want = append(want, mine.String()+"."+export.Name)
	}
	for _, path := range []string{sharedTables, "/shares/voicory/all-tables",
		strings.ToUpper(sharedTables[:15]) + sharedTables[15:]} {
		path = strings.Replace(path, "/SHARES/", "/shares/", 1)
		for _, size := range []int{1, 2, 500} {
			var got []string
			for next := ""; ; {
				found := page(fmt.Sprintf("%s?maxResults=%d&pageToken=%s", path, size, next))
				for _, item := range found.Items {
					got = append(got, item.Schema+"."+item.Name)
				}
				if next = found.Next; next == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s in pages of %d: got %s, want %s", path, size, got, want)
			}
		}
	}
	if got := page("/shares?maxResults=0"); len(got.Items) != 0 || got.Next == "" ||
		len(page("/shares?pageToken="+got.Next).Items) != 1 {
		t.Errorf("got a page of no items %+v", got)
	}
	for _, query := range []string{"maxResults=-1", "maxResults=501", "maxResults=x", "pageToken=x", "pageToken=OTk"} {
		l.wantSharingError(t, l.shared(t, "GET", "/shares?"+query, l.secret, ""), 400, "INVALID_PARAMETER_VALUE")
	}
}

func TestSharing_RefusesWritesOtherTenantsAndOtherKeys(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	other := "/shares/voicory/schemas/" + theirs.String() + "/tables"
	table := sharedTables + "/calls"
	type request struct{ method, path, key string }
	for _, test := range []struct {
		request
		status int
		code   string
	}{
		{request{"GET", "/shares/" + theirs.String(), l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"GET", "/shares/nothing/schemas", l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"GET", "/shares/nothing/all-tables", l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"GET", sharedTables + "/nothing/version", l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"POST", sharedTables + "/nothing/query", l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"GET", "/nothing", l.secret}, 404, "RESOURCE_DOES_NOT_EXIST"},
		{request{"GET", table, l.secret}, 405, "METHOD_NOT_ALLOWED"},
		{request{"PUT", table, l.secret}, 405, "METHOD_NOT_ALLOWED"},
		{request{"DELETE", "/shares/voicory", l.secret}, 405, "METHOD_NOT_ALLOWED"},
		{request{"POST", "/shares", l.secret}, 405, "METHOD_NOT_ALLOWED"},
		{request{"POST", table + "/temporary-table-credentials", l.secret}, 405, "METHOD_NOT_ALLOWED"},
		{request{"GET", table + "/changes?startingVersion=0", l.secret}, 400, "UNSUPPORTED_OPERATION"},
		{request{"GET", "/shares", ""}, 401, "UNAUTHENTICATED"},
		{request{"GET", "/shares", l.old}, 401, "UNAUTHENTICATED"},
		{request{"GET", "/shares", "sk_00000000000000000000000000000000"}, 401, "UNAUTHENTICATED"},
		{request{"POST", table + "/query", l.old}, 401, "UNAUTHENTICATED"},
		{request{"GET", "/shares", l.key}, 403, "PERMISSION_DENIED"},
		{request{"POST", table + "/query", l.key}, 403, "PERMISSION_DENIED"},
	} {
		got := l.shared(t, test.method, test.path, test.key, "")
		l.wantSharingError(t, got, test.status, test.code)
		if test.status == 401 && got.header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s %s: got headers %v", test.method, test.path, got.header)
		}
	}
	// The answer is the same for the schema of another tenant and for one that does not exist.
	for _, path := range []string{"", "/calls/version", "/calls/metadata", "/calls/query", "/calls/changes"} {
		method := "GET"
		if path == "/calls/query" {
			method = "POST"
		}
		got := l.shared(t, method, other+path, l.secret, "")
		l.wantSharingError(t, got, 404, "RESOURCE_DOES_NOT_EXIST")
		missing := l.shared(t, method, strings.Replace(other, "0", "f", 1)+path, l.secret, "")
		if missing.status != got.status || missing.body != got.body {
			t.Errorf("%s: got %+v, and %+v for a schema that does not exist", path, got, missing)
		}
	}
	if got := l.shared(t, "HEAD", other+"/calls", l.secret, ""); got.status != 404 {
		t.Errorf("got %+v for the table of another tenant", got)
	}
}

func TestSharing_RefusesMalformedQueries(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	for body, code := range map[string]string{
		`{`:                                    "MALFORMED_REQUEST",
		`[]`:                                   "MALFORMED_REQUEST",
		`{"limitHint":"x"}`:                    "MALFORMED_REQUEST",
		`{"predicateHints":"x"}`:               "MALFORMED_REQUEST",
		`{"limitHint":-1}`:                     "INVALID_PARAMETER_VALUE",
		`{"version":-1}`:                       "INVALID_PARAMETER_VALUE",
		`{"version":1}`:                        "INVALID_PARAMETER_VALUE",
		`{"timestamp":"x"}`:                    "INVALID_PARAMETER_VALUE",
		`{"startingVersion":0}`:                "UNSUPPORTED_OPERATION",
		`{"endingVersion":0}`:                  "UNSUPPORTED_OPERATION",
		`{"timestamp":"2020-01-01T00:00:00Z"}`: "INVALID_PARAMETER_VALUE",
		`{"timestamp":"2026-01-01T00:00:00Z","version":99999999}`: "INVALID_PARAMETER_VALUE",
	} {
		l.wantSharingError(t, l.shared(t, "POST", sharedTables+"/calls/query", l.secret, body), 400, code)
	}
	large := `{"x":"` + strings.Repeat("x", 1<<20) + `"}`
	l.wantSharingError(t, l.shared(t, "POST", sharedTables+"/calls/query", l.secret, large), 413, "PAYLOAD_TOO_LARGE")
	for name, value := range map[string]string{"Delta-Sharing-Capabilities": "responseformat=csv", "Fileidhash": "md5"} {
		got := l.shared(t, "POST", sharedTables+"/calls/query", l.secret, "{}", name, value)
		l.wantSharingError(t, got, 400, "INVALID_PARAMETER_VALUE")
	}
	for _, path := range []string{"/version?startingTimestamp=x", "/version?startingTimestamp=2100-01-01T00:00:00Z",
		"/metadata?version=x",
		"/metadata?version=1&timestamp=2026-01-01T00:00:00Z"} {
		l.wantSharingError(t, l.shared(t, "GET", sharedTables+"/calls"+path, l.secret, ""), 400, "INVALID_PARAMETER_VALUE")
	}
	// Hints that are not understood, and unknown fields, are ignored.
	all := l.query(t, "calls", "").names()
	for _, body := range []string{`{}`,
		`{"predicateHints":["x y z","nothing = 1"],"jsonPredicateHints":"{","limitHint":null,"maxFiles":1}`} {
		if got := l.query(t, "calls", body).names(); !slices.Equal(got, all) || len(got) == 0 {
			t.Errorf("%s: got %s, want %s", body, got, all)
		}
	}
}

func TestSharing_QueryReturnsTheFilesOfEveryTable(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	for _, export := range schema.Exports {
		for capabilities, want := range map[string]string{"": "",
			"responseformat=delta,parquet;readerfeatures=deletionvectors": "responseformat=parquet",
			"readerFeatures=x; responseFormat=Delta":                      "responseformat=delta",
			"responseformat=parquet":                                      "responseformat=parquet"} {
			found := l.query(t, strings.ToUpper(export.Name), "{}", "Delta-Sharing-Capabilities", capabilities, "Fileidhash",
				"parquet")
			isDelta := want == "responseformat=delta"
			if found.format != want || isDelta != (found.metadata.DeltaMetadata != nil) ||
				isDelta != (found.protocol["deltaProtocol"] != nil) {
				t.Errorf("%s with %q: got format %q, protocol %v and metadata %+v", export.Name, capabilities, found.format,
					found.protocol, found.metadata)
			}
			sums := map[string]int64{}
			for _, file := range found.files {
				url, stats := file.URL, file.Stats
				if isDelta {
					url, stats = file.DeltaSingleAction.Add.Path, file.DeltaSingleAction.Add.Stats
				}
				content := l.download(t, "GET", url)
				head, part := l.download(t, "HEAD", url), l.download(t, "GET", url, "Range", "bytes=-4")
				if content.status != 200 || int64(len(content.body)) != file.Size || head.status != 200 ||
					head.header.Get("Content-Length") != fmt.Sprint(file.Size) || part.status != 206 || part.body != "PAR1" {
					t.Errorf("%s: got %d, HEAD %+v, range %+v", url, content.status, head, part)
				}
				var of struct{ NumRecords int64 }
				noError(t, json.Unmarshal([]byte(stats), &of))
				sums[file.ID] = of.NumRecords
			}
			want := map[string]int64{}
			for _, file := range l.files(t, l.secret, export.Name, "") {
				want[file.SHA256] = file.Rows
			}
			if !maps.Equal(sums, want) || found.metadata.NumFiles != len(want) || len(want) == 0 {
				t.Errorf("%s: got files %v, want %v", export.Name, sums, want)
			}
		}
	}
	version := fmt.Sprint(l.query(t, "calls", "").version)
	for method, path := range map[string]string{"GET": sharedTables + "/calls/version", "HEAD": sharedTables + "/calls"} {
		if got := l.shared(t, method, path, l.secret, ""); got.status != 200 ||
			got.header.Get("Delta-Table-Version") != version || got.body != "" {
			t.Errorf("%s %s: got %+v, want version %s", method, path, got, version)
		}
	}
	metadata := l.shared(t, "GET", sharedTables+"/calls/metadata", l.secret, "")
	if query := l.shared(t, "POST", sharedTables+"/calls/query", l.secret, ""); metadata.status != 200 ||
		!strings.HasPrefix(query.body, metadata.body) || strings.Count(metadata.body, "\n") != 2 {
		t.Errorf("got metadata %+v", metadata)
	}
}

func TestSharing_VersionsStayReadableForOneHour(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	before := l.query(t, "calls", "")
	publish := func(n int) {
		merge(t, l.warehouse, schema.Calls,
			fmt.Sprintf(`{"user_id":%q,"id":%q,"status":"failed","created_at":"2026-02-03T12:00:00Z"}`,
				mine, id(n)))
		_, err := l.warehouse.Publish(t.Context())
		noError(t, err)
	}
	publish(61)
	after := l.query(t, "calls", "")
	if after.version <= before.version || after.version >= 1<<53 {
		t.Errorf("got version %d after %d", after.version, before.version)
	}
	at := func(version int64, delta time.Duration) string {
		return time.UnixMicro(version).Add(delta).UTC().Format(time.RFC3339Nano)
	}
	for body, want := range map[string]sharedTable{
		fmt.Sprintf(`{"version":%d}`, before.version):                           before,
		fmt.Sprintf(`{"version":%d}`, after.version):                            after,
		fmt.Sprintf(`{"timestamp":%q}`, at(before.version, 0)):                  before,
		fmt.Sprintf(`{"timestamp":%q}`, at(after.version, -time.Microsecond)):   before,
		fmt.Sprintf(`{"timestamp":%q}`, at(after.version, 0)):                   after,
		fmt.Sprintf(`{"timestamp":%q,"version":null}`, at(after.version, 1000)): after,
	} {
		found := l.query(t, "calls", body)
		if found.version != want.version || !slices.Equal(found.names(), want.names()) {
			t.Errorf("%s: got version %d with %s, want version %d with %s", body, found.version, found.names(), want.version,
				want.names())
		}
		for _, file := range found.files {
			if got := l.download(t, "GET", file.URL); got.status != 200 || file.Version != want.version ||
				file.Timestamp != want.version/1000 {
				t.Errorf("%s: got file %+v with status %d", body, file, got.status)
			}
		}
	}
	for path, want := range map[string]int64{
		"/version?startingTimestamp=2020-01-01T00:00:00Z":                    before.version,
		"/version?startingTimestamp=" + at(before.version, 0):                before.version,
		"/version?startingTimestamp=" + at(before.version, time.Microsecond): after.version,
		fmt.Sprintf("/metadata?version=%d", before.version):                  before.version,
		"/metadata?timestamp=" + at(before.version, time.Microsecond):        before.version,
		"/metadata": after.version,
	} {
		if got := l.shared(t, "GET", sharedTables+"/calls"+path, l.secret,
			""); got.header.Get("Delta-Table-Version") != fmt.Sprint(want) {
			t.Errorf("%s: got %+v, want version %d", path, got, want)
		}
	}
	old := fmt.Sprintf(`{"version":%d}`, before.version)
	l.ahead.Store(int64(time.Hour))
	l.wantSharingError(t, l.shared(t, "POST", sharedTables+"/calls/query", l.secret, old), 400, "INVALID_PARAMETER_VALUE")
	l.ahead.Store(0)
	_, err := l.warehouse.Erase(t.Context(), mine, id(11), warehouse.EraseOptions{})
	noError(t, err)
	for _, version := range []int64{before.version, after.version} {
		got := l.shared(t, "POST", sharedTables+"/calls/query", l.secret, fmt.Sprintf(`{"version":%d}`, version))
		l.wantSharingError(t, got, 400, "INVALID_PARAMETER_VALUE")
	}
	current := l.query(t, "calls", "").names()
	for _, file := range after.files {
		location, _, _ := strings.Cut(file.URL, "?")
		if got := l.download(t, "GET", file.URL); (got.status == 200) != slices.Contains(current, path.Base(location)) {
			t.Errorf("%s: got status %d after an erasure, current files are %s", file.URL, got.status, current)
		}
	}
}

func TestSharing_URLsAreBoundToKeyTenantAndTime(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	file := l.query(t, "calls", "").files[0]
	change := func(from, to string) string {
		changed := strings.Replace(file.URL, from, to, 1)
		if changed == file.URL {
			t.Fatalf("%s has no %s", file.URL, from)
		}
		return changed
	}
	parsed, err := url.Parse(file.URL)
	noError(t, err)
	name := path.Base(parsed.Path)
	other := l.query(t, "messages", "").files[0]
	otherName := path.Base(strings.Split(other.URL, "?")[0])
	foreign := l.shared(t, "POST", "/shares/voicory/schemas/"+theirs.String()+"/tables/calls/query", l.another, "")
	_, foreignURL, _ := strings.Cut(foreign.body, `"url":"`)
	foreignURL, _, _ = strings.Cut(foreignURL, `"`)
	signature := parsed.Query().Get("X-Amz-Signature")
	for _, altered := range []string{
		change(name, otherName), change("/calls/", "/messages/"), change(mine.String(), theirs.String()),
		change("X-Amz-Expires=3", "X-Amz-Expires=9"), change(signature, strings.Repeat("0", 64)),
		change("X-Amz-Security-Token="+l.id.String(), "X-Amz-Security-Token="+theirs.String()), file.URL + "&x-id=GetObject",
		strings.Split(foreignURL, "?")[0] + "?" + parsed.RawQuery, strings.Split(file.URL, "?")[0],
	} {
		if got := l.download(t, "GET", altered); got.status != 403 {
			t.Errorf("%s: got status %d, want 403", altered, got.status)
		}
	}
	if got := l.download(t, "PUT", file.URL); got.status != 405 {
		t.Errorf("got %+v for a write", got)
	}
	lifetime := time.UnixMilli(file.Expires).Sub(l.time())
	if lifetime > time.Hour || lifetime < 59*time.Minute {
		t.Errorf("got a lifetime of %s", lifetime)
	}
	l.ahead.Store(int64(lifetime) - int64(5*time.Second))
	if got := l.download(t, "GET", file.URL); got.status != 200 {
		t.Errorf("got %+v before the URL expires", got)
	}
	l.ahead.Store(int64(lifetime))
	if got := l.download(t, "GET", file.URL); got.status != 403 {
		t.Errorf("got status %d after the URL has expired", got.status)
	}
	l.ahead.Store(0)
	soon := l.time().Add(5 * time.Minute)
	_, short, err := l.warehouse.CreateKey(t.Context(), mine, control.Secret, control.KeySettings{ExpiresAt: &soon})
	noError(t, err)
	got := l.shared(t, "POST", sharedTables+"/calls/query", short, "")
	if want := fmt.Sprintf(`"expirationTimestamp":%d`, soon.Unix()*1000); !strings.Contains(got.body, want) {
		t.Errorf("got %s for a key that expires, want %s", got.body, want)
	}
	_, err = l.warehouse.RevokeKey(t.Context(), l.id)
	noError(t, err)
	if got := l.download(t, "GET", file.URL); got.status != 403 {
		t.Errorf("got status %d for a revoked key", got.status)
	}
	l.wantSharingError(t, l.shared(t, "GET", "/shares", l.secret, ""), 401, "UNAUTHENTICATED")
}

func TestSharing_ScanOfATableCountsAsOneRequest(t *testing.T) {
	t.Parallel()
	l := startLake(t, func(o *httpapi.Options) {
		o.Limiter, o.Rules = limit.NewMemory(100, o.Now), limit.Rules{{Max: 2, Window: time.Minute}}
	})
	for range 5 {
		l.shared(t, "GET", "/shares", l.secret, "")          // 1, with all other requests to the sharing server
		for _, file := range l.query(t, "calls", "").files { // 2
			for _, part := range []string{"bytes=0-3", "bytes=-4"} {
				if got := l.download(t, "GET", file.URL, "Range", part); got.status != 206 {
					t.Fatalf("got %+v", got)
				}
			}
		}
	}
	got := l.download(t, "GET", l.query(t, "messages", "").files[0].URL) // 3
	l.wantObjectError(t, got, 503, "SlowDown")
}

func TestSharing_DamagedFileIsUnavailable(t *testing.T) {
	t.Parallel()
	dir := ""
	l := startLake(t, func(o *httpapi.Options) { dir = o.Store.(*warehouse.Warehouse).PublishedDirs(mine)[0] })
	corrupt(t, dir, l.files(t, l.secret, "customers", "")[0].Name)
	got := l.shared(t, "POST", sharedTables+"/customers/query", l.secret, "")
	l.wantSharingError(t, got, 503, "TEMPORARILY_UNAVAILABLE")
	if got.header.Get("Retry-After") == "" {
		t.Errorf("got headers %v, want Retry-After", got.header)
	}
}

func TestSharing_ProfileConnects(t *testing.T) {
	t.Parallel()
	l := startLake(t)
	got := l.ask(t, "GET", "/api/v1/sharing/profile", l.secret)
	var profile httpapi.SharingProfile
	noError(t, json.Unmarshal([]byte(got.body), &profile))
	if profile != httpapi.NewSharingProfile(l.URL+"/", l.secret, nil) || profile.Version != 1 {
		t.Errorf("got %+v", got)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, profile.Endpoint+"/shares", nil)
	noError(t, err)
	request.Header.Set("Authorization", "Bearer "+profile.Token)
	if got := l.send(t, request); got.status != 200 {
		t.Errorf("got %+v with the profile", got)
	}
	if got := l.ask(t, "GET", "/api/v1/sharing/profile", l.key); got.status != 403 {
		t.Errorf("got %+v for a public key", got)
	}
	at := time.Date(2030, 1, 2, 3, 4, 5, 6000000, time.FixedZone("", 3600))
	if got := httpapi.NewSharingProfile("", "", &at).Expires; got != "2030-01-02T02:04:05.006Z" {
		t.Errorf("got expiration time %q", got)
	}
}

// The official client reads the tables with the example of the documentation, while rows are published.
func TestSharing_ClientReadsEveryTable(t *testing.T) {
	t.Parallel()
	python := pythontest.Python(t, "delta-sharing==1.4.2", "pandas==2.3.3", "pyarrow==23.0.1")
	l := startLake(t)
	published, stop := l.publishJune(t)
	profile := filepath.Join(t.TempDir(), "profile.share")
	noError(t, os.WriteFile(profile, []byte(l.ask(t, "GET", "/api/v1/sharing/profile", l.secret).body), 0o600))
	command := exec.CommandContext(t.Context(), python, "testdata/sharing.py", profile, mine.String(), "../docs/tables.md")
	out, err := command.Output()
	stop()
	if failure := (*exec.ExitError)(nil); errors.As(err, &failure) {
		t.Fatalf("%v: %s", err, failure.Stderr)
	}
	noError(t, err)
	type figures struct {
		Cost, First, Last string
		IDs, Metadata     []string
		Transcripts       map[string][]string
	}
	var found struct {
		Example        map[string]float64
		Tables, Listed [][3]string
		Rows           map[string][3]int64
		Types          map[string]map[string][3]string
		Comments       map[string]map[string]string
		Pandas, Kernel figures
		June           [][3]any
	}
	noError(t, json.Unmarshal(out, &found))
	var tables [][3]string
	for _, export := range schema.Exports {
		tables = append(tables, [3]string{"voicory", mine.String(), export.Name})
		var rows int64
		for _, file := range l.files(t, l.secret, export.Name, "") {
			rows += file.Rows
		}
		got := found.Rows[export.Name]
		grows := export.Source.Name == "calls"
		if got[0] == 0 || got[1] != got[0] || got[2] != 1 || got[0] > rows || !grows && got[0] != rows {
			t.Errorf("%s: got %d rows of %d", export.Name, got, rows)
		}
		for _, c := range export.Columns {
			types, want := found.Types[export.Name][c.Name], sharedTypes[c.Type]
			if c.Nullable() && want[1] == "int" && types[1] == "float" { // pandas has no integer that is null
				want[1] = "float"
			}
			if types[0] != want[0] || types[1] != want[1] && types[1] != "" || types[1] != types[2] ||
				found.Comments[export.Name][c.Name] != c.Comment() {
				t.Errorf("%s.%s: got types %s, want %s", export.Name, c.Name, types, want)
			}
		}
	}
	if !slices.Equal(found.Tables, tables) || !slices.Equal(found.Listed, tables) {
		t.Errorf("got tables %s and %s, want %s", found.Tables, found.Listed, tables)
	}
	if found.Pandas.Cost != found.Kernel.Cost || !reflect.DeepEqual(found.Pandas, found.Kernel) {
		t.Errorf("got %+v, and %+v in the format delta", found.Pandas, found.Kernel)
	}
	l.wantCalls(t, found.Pandas.IDs, found.Pandas.Transcripts, found.Pandas.Cost, found.Pandas.First, found.Pandas.Last)
	if len(found.Example) == 0 {
		t.Errorf("the example has printed %v", found.Example)
	}
	last := 0.0
	for _, round := range found.June {
		count, usd := round[0].(float64), round[1].(float64)
		if usd != count/2 || count < last || count > float64(published.Load()) ||
			!strings.HasPrefix(round[2].(string), "2026-06-03T12:00:00") {
			t.Errorf("got %v after %v rows, which no publication has", round, last)
		}
		last = count
	}
	if len(found.June) != 6 || last < 2 {
		t.Errorf("got rounds %v", found.June)
	}
}

// sharedTypes are the types of columns in the schema of a table and in pandas.
var sharedTypes = map[string][2]string{
	"VARCHAR": {`"string"`, "str"}, "JSON": {`"string"`, "str"}, "BOOLEAN": {`"boolean"`, "bool"},
	"INTEGER": {`"integer"`, "int"}, "BIGINT": {`"long"`, "int"}, "DOUBLE": {`"double"`, "float"},
	"DATE": {`"date"`, "date"}, "TIMESTAMP WITH TIME ZONE": {`"timestamp"`, "Timestamp"},
	"DECIMAL(10,4)": {`"decimal(10,4)"`, "Decimal"}, "DECIMAL(18,4)": {`"decimal(18,4)"`, "Decimal"},
	"DECIMAL(38,0)": {`"decimal(38,0)"`, "Decimal"},
	"STRUCT(speaker VARCHAR, \"text\" VARCHAR, timestamp_ms BIGINT)[]": {
		`{"type": "array", "elementType": {"type": "struct", "fields": [` +
			`{"name": "speaker", "type": "string", "nullable": true, "metadata": {}}, {"name": "text", "type": "string", "nullable": true, "metadata": {}}, ` +
			`{"name": "timestamp_ms", "type": "long", "nullable": true, "metadata": {}}]}, "containsNull": true}`, "ndarray"},
}

// wantCalls compares calls that a client has read with those of the API.
func (l *lake) wantCalls(t *testing.T, ids []string, transcripts map[string][]string, cost, first, last string) {
	t.Helper()
	total := new(big.Rat)
	var least, greatest time.Time
	for _, id := range ids {
		var answer struct {
			Data struct {
				Cost       json.Number
				CreatedAt  time.Time `json:"created_at"`
				Transcript []struct{ Message string }
			}
		}
		noError(t, json.Unmarshal([]byte(l.ask(t, "GET", "/api/v1/calls/"+id, l.secret).body), &answer))
		call := answer.Data
		if one, ok := new(big.Rat).SetString(call.Cost.String()); ok {
			total.Add(total, one)
		}
		if least.IsZero() || call.CreatedAt.Before(least) {
			least = call.CreatedAt
		}
		if call.CreatedAt.After(greatest) {
			greatest = call.CreatedAt
		}
		var texts []string
		for _, turn := range call.Transcript {
			texts = append(texts, turn.Message)
		}
		if !slices.Equal(texts, transcripts[id]) {
			t.Errorf("call %s: got transcript %q, want %q", id, transcripts[id], texts)
		}
	}
	sum, ok := new(big.Rat).SetString(cost)
	from, err := time.Parse(time.RFC3339, first)
	noError(t, err)
	to, err := time.Parse(time.RFC3339, last)
	noError(t, err)
	if !ok || sum.Cmp(total) != 0 || !from.Equal(least) || !to.Equal(greatest) {
		t.Errorf("got cost %s from %s to %s, want %s from %s to %s", cost, first, last, total.FloatString(4), least, greatest)
	}
}
