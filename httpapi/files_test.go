package httpapi_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/httpapi/limit"
	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// bulk is a server whose files are published, with secret keys for two tenants.
type bulk struct {
	*api
	id              uuid.UUID
	secret, another string
	now             atomic.Pointer[time.Time]
}

func startBulk(t *testing.T, tune ...func(*httpapi.Options)) *bulk {
	t.Helper()
	b := &bulk{}
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	b.now.Store(&at)
	b.api = startOn(t, publishedOfTwo, append([]func(*httpapi.Options){func(o *httpapi.Options) {
		o.FileKey, o.FileWindow, o.Now = []byte("a key to sign with"), time.Minute, func() time.Time { return *b.now.Load() }
	}}, tune...)...)
	b.id, b.secret, b.another = publishedOfTwo.id, publishedOfTwo.secret, publishedOfTwo.another
	return b
}

func (b *bulk) sleep(d time.Duration) {
	at := b.now.Load().Add(d)
	b.now.Store(&at)
}

// ask makes a request and holds the answer to the document.
func (b *bulk) ask(t *testing.T, method, target, key string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, b.URL+target, nil)
	noError(t, err)
	if key != "" {
		request.Header.Set("X-Api-Key", key)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := b.Client().Do(request)
	noError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	openapitest.Check(t, request, response, decoded(t, response.Header.Get("Content-Encoding"), body))
	want := "no-store, no-cache, must-revalidate, private"
	if response.Header.Get("X-As-Of") != "" && strings.HasPrefix(request.URL.Path, "/api/v1/exports/") {
		want = "private, no-cache"
	}
	if got := response.Header.Get("Cache-Control"); got != want {
		t.Errorf("%s %s: Cache-Control is %q", method, target, got)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

type published struct {
	Month                                     *string
	Name, SHA256, URL                         string
	Rows, Bytes                               int64
	MinCreatedAt, MaxCreatedAt, AsOf, Expires *time.Time
}

func (b *bulk) files(t *testing.T, key, export, query string) (files []published) {
	t.Helper()
	got := b.ask(t, "GET", "/api/v1/exports/"+export+"/files"+query, key)
	var list struct{ Data []published }
	noError(t, json.Unmarshal([]byte(got.body), &list))
	if got.status != 200 || list.Data == nil {
		t.Fatal(got)
	}
	return list.Data
}

func TestExports_List(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	got := b.ask(t, "GET", "/api/v1/exports", b.secret)
	var list struct {
		Data []struct {
			Name        string
			Columns     []map[string]any
			Rows, Bytes int64
			Months      []string
			AsOf        *time.Time `json:"as_of"`
		}
	}
	noError(t, json.Unmarshal([]byte(got.body), &list))
	var all []string
	for i, export := range list.Data {
		all = append(all, fmt.Sprint(export.Name, export.Rows, export.Months))
		var rows, bytes int64
		for _, file := range b.files(t, b.secret, export.Name, "") {
			rows, bytes = rows+file.Rows, bytes+file.Bytes
		}
		if rows != export.Rows || bytes != export.Bytes || len(export.Columns) != len(schema.Exports[i].Columns) ||
			(export.AsOf == nil) != (rows == 0) {
			t.Errorf("%+v", export)
		}
	}
	if fmt.Sprint(all) != "[calls60 [2026-02 2026-03 2026-04] customers2 [] messages2 [2026-04] transcript_turns1 "+
		"[2026-04] cost_daily58 [2026-02 2026-03 2026-04]]" {
		t.Error(all)
	}
	for path, key := range map[string]string{"/api/v1/exports": b.key, "/api/v1/exports/calls/files": b.key,
		"/api/v1/exports/calls/files/x": b.key} {
		if got := b.ask(t, "GET", path, key); got.status != 403 || !strings.Contains(got.body, "SECRET_KEY_REQUIRED") {
			t.Errorf("%s with a public key: %v", path, got)
		}
	}
	if got := b.ask(t, "GET", "/api/v1/exports/nothing/files", b.secret); got.status != 404 {
		t.Error(got)
	}
	if got := b.files(t, b.another, "messages", ""); len(got) != 0 {
		t.Error(got)
	}
}

// content is the whole file.
func (b *bulk) content(t *testing.T, file published) string {
	t.Helper()
	got := b.ask(t, "GET", file.URL, b.secret)
	if got.status != 200 || int64(len(got.body)) != file.Bytes ||
		got.header.Get("Content-Length") != strconv.FormatInt(file.Bytes, 10) ||
		got.header.Get("Etag") != `"`+file.SHA256+`"` || got.header.Get("Content-Type") != "application/vnd.apache.parquet" ||
		got.header.Get("Content-Disposition") != `attachment; filename="`+file.Name+`"` || got.header.Get("X-As-Of") == "" {
		t.Fatal(got.status, got.header)
	}
	return got.body
}

func TestFiles_Ranges(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	file := b.files(t, b.secret, "calls", "")[0]
	whole := b.content(t, file)
	n := len(whole)
	for given, want := range map[string][2]int{
		"bytes=0-0": {0, 1}, "bytes=0-": {0, n}, "bytes=-1": {n - 1, n}, "bytes=-8": {n - 8, n},
		fmt.Sprintf("bytes=%d-", n-1):  {n - 1, n},
		fmt.Sprintf("bytes=0-%d", n-1): {0, n}, fmt.Sprintf("bytes=0-%d", n): {0, n}, fmt.Sprintf("bytes=-%d", n+5): {0, n},
		fmt.Sprintf("bytes=%d-%d", n-2, n+100): {n - 2, n},
		"bytes=7-7":                            {7, 8}, "bytes=4-99": {4, 100},
	} {
		got := b.ask(t, "GET", file.URL, b.secret, "Range", given)
		if got.status != 206 || got.body != whole[want[0]:want[1]] ||
			got.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, n) {
			t.Errorf("%s: %d %v", given, got.status, got.header)
		}
	}
	for _, given := range []string{fmt.Sprintf("bytes=%d-", n), "bytes=5-4", "bytes=x-", "bytes=-x", "bytes=--1"} {
		got := b.ask(t, "GET", file.URL, b.secret, "Range", given)
		if got.status != 416 || !strings.Contains(got.body, "RANGE_NOT_SATISFIABLE") || got.header.Get("Etag") != "" {
			t.Errorf("%s: %d %v %s", given, got.status, got.header, got.body)
		}
	}
	if got := b.ask(t, "GET", file.URL, b.secret, "Range", fmt.Sprintf("bytes=%d-", n)); got.header.Get(
		"Content-Range") != fmt.Sprintf("bytes */%d", n) {
		t.Error(got.header)
	}
	several := b.ask(t, "GET", file.URL, b.secret, "Range", "bytes=0-3, 10-19,-4")
	_, parameters, err := mime.ParseMediaType(several.header.Get("Content-Type"))
	noError(t, err)
	reader, parts := multipart.NewReader(strings.NewReader(several.body), parameters["boundary"]), []string{}
	for {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) {
			break
		}
		noError(t, err)
		text, err := io.ReadAll(part)
		noError(t, err)
		parts = append(parts, string(text))
	}
	if several.status != 206 || strings.Join(parts, "|") != strings.Join([]string{whole[:4], whole[10:20], whole[n-4:]},
		"|") {
		t.Errorf("%d parts, %d", len(parts), several.status)
	}
	tag := `"` + file.SHA256 + `"`
	for _, test := range []struct {
		method  string
		headers []string
		status  int
		length  int
	}{
		{"HEAD", nil, 200, 0},
		{"HEAD", []string{"Range", "bytes=0-9"}, 206, 0},
		{"GET", []string{"If-None-Match", tag}, 304, 0},
		{"GET", []string{"If-None-Match", "W/" + tag + `, "x"`}, 304, 0},
		{"GET", []string{"If-None-Match", `"x"`}, 200, n},
		{"GET", []string{"If-Range", tag, "Range", "bytes=0-9"}, 206, 10},
		{"GET", []string{"If-Range", `"x"`, "Range", "bytes=0-9"}, 200, n},
		{"GET", []string{"If-Range", "W/" + tag, "Range", "bytes=0-9"}, 200, n},
		{"GET", []string{"If-Match", `"x"`}, 412, -1},
		{"GET", []string{"Accept-Encoding", "gzip, zstd"}, 200, n},
		{"OPTIONS", nil, 204, 0},
		{"POST", nil, 405, -1},
	} {
		got := b.ask(t, test.method, file.URL, b.secret, test.headers...)
		if got.status != test.status || test.length >= 0 && len(got.body) != test.length {
			t.Errorf("%s %v: %d, %d bytes", test.method, test.headers, got.status, len(got.body))
		}
	}
	if got := b.ask(t, "HEAD", file.URL, b.secret); got.header.Get("Content-Length") != strconv.Itoa(n) ||
		got.header.Get("Accept-Ranges") != "bytes" {
		t.Error(got.header)
	}
}

// Files that do not exist and files of another tenant get the same response.
func TestFiles_OfOtherTenantsAreNotFound(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	file := b.files(t, b.secret, "calls", "")[0]
	unknown := b.ask(t, "GET", "/api/v1/exports/calls/files/calls-2026-02-0000000000000000.parquet", b.another)
	for _, target := range []string{file.URL, strings.Replace(file.URL, "/calls/", "/messages/", 1),
		strings.Replace(file.URL, "/calls/", "/x/", 1)} {
		if got := b.ask(t, "GET", target, b.another); got.status != 404 || got.body != unknown.body {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	if got := b.ask(t, "GET", "/api/v1/exports/calls/files/..%2f..%2f..%2fcontrol.duckdb", b.secret); got.status != 404 {
		t.Error(got)
	}
	for _, target := range []string{file.URL + "?key=" + b.secret, file.URL + "?api_key=" + b.secret} {
		if got := b.ask(t, "GET", target, ""); got.status != 401 {
			t.Error(got)
		}
	}
}

// A signed URL reads one file, until it expires or its key ends; with any character changed it reads nothing.
func TestSignedURL_Validity(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	files := b.files(t, b.secret, "calls", "?signed=true")
	signed, other := files[0].URL, files[1]
	whole := b.content(t, b.files(t, b.secret, "calls", "")[0])
	if got := b.ask(t, "GET", signed, "", "Range", "bytes=0-3", "Origin", "https://app.example.com"); got.status != 206 ||
		got.body != whole[:4] || got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error(got.status, got.header)
	}
	if got := b.ask(t, "HEAD", signed, ""); got.status != 200 {
		t.Error(got)
	}
	path, query, _ := strings.Cut(signed, "?")
	for i := range query {
		c := query[i] ^ 1
		if got := b.ask(t, "GET", path+"?"+query[:i]+string(rune(c))+query[i+1:], ""); got.status < 400 ||
			got.status == 404 || got.status > 403 {
			t.Errorf("%c for %c at %d: %d", c, query[i], i, got.status)
		}
	}
	ofOther, _, _ := strings.Cut(other.URL, "?")
	for _, target := range []string{ofOther + "?" + query, strings.Replace(path, "/calls/", "/messages/", 1) + "?" + query,
		signed + "&x=1", signed + "=", signed + "&expires=9999999999", "/api/v1/exports/calls/files?" + query} {
		if got := b.ask(t, "GET", target, ""); got.status != 403 && got.status != 401 {
			t.Errorf("%s: %d", target, got.status)
		}
	}
	if got := b.ask(t, "GET", path+"?signature=x", ""); got.status != 403 ||
		!strings.Contains(got.body, "INVALID_SIGNATURE") {
		t.Error(got)
	}
	for query, status := range map[string]int{"expires_in=59": 400, "expires_in=604801": 400, "expires_in=x": 400,
		"signed=maybe": 400, "expires_in=604800": 200, "signed=false": 200} {
		if got := b.ask(t, "GET", "/api/v1/exports/calls/files?"+query, b.secret); got.status != status {
			t.Errorf("%s: %d", query, got.status)
		}
	}
	b.sleep(time.Hour - time.Second)
	if got := b.ask(t, "GET", signed, ""); got.status != 200 {
		t.Error(got.status)
	}
	b.sleep(time.Second)
	if got := b.ask(t, "GET", signed, ""); got.status != 403 || !strings.Contains(got.body, "EXPIRED_URL") {
		t.Error(got)
	}
	signed = b.files(t, b.secret, "calls", "?expires_in=60")[0].URL
	_, err := b.warehouse.RevokeKey(t.Context(), b.id)
	noError(t, err)
	if got := b.ask(t, "GET", signed, ""); got.status != 401 || !strings.Contains(got.body, "REVOKED_API_KEY") {
		t.Error(got)
	}
	requests, err := b.warehouse.Requests(t.Context(), time.Now().Add(-time.Hour), uuid.NullUUID{}, 10_000)
	noError(t, err)
	values, err := url.ParseQuery(query)
	noError(t, err)
	for _, request := range requests {
		if strings.Contains(request.Query+request.Path, values.Get("signature")) {
			t.Fatalf("the log has a signature: %+v", request)
		}
	}
}

// The parts of a file count as one request of a key, as far as its window reaches, and that is opened by requests that
// count alone.
func TestRangeAllowance_RangesCountAsOneRequest(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	b := startBulk(t, func(o *httpapi.Options) {
		o.Rules, o.Limiter = limit.Rules{{Max: 8, Window: time.Minute}}, limit.NewMemory(100, func() time.Time { return at })
	})
	files := b.files(t, b.secret, "calls", "") // 7 are left
	passed := func(target string, headers ...string) bool {
		return b.ask(t, "GET", target, b.secret, headers...).status < 300
	}
	for n := range 101 { // one counts, 100 are free: 6 are left
		if !passed(files[0].URL, "Range", "bytes=0-3") {
			t.Fatalf("part %d is too many", n)
		}
	}
	// Whole files: requests beyond twice its bytes count again, and opens the next window.
	bytes := 0
	for passed(files[1].URL) {
		bytes++
	}
	if bytes != 6*3 {
		t.Errorf("%d whole files for 6 requests", bytes)
	}
	// With nothing left, no window opens: neither of the same file, when its own is used up, nor of another.
	for _, file := range files {
		if passed(file.URL, "Range", "bytes=0-3") {
			t.Errorf("%s passed with nothing left", file.Name)
		}
	}
	for _, header := range [][]string{{"Range", "bytes=0-0,0-0,0-0"}, {"If-None-Match", "*"},
		{"Range", "bytes=0-0", "If-Range", `"x"`}} {
		if got := b.ask(t, "GET", files[2].URL, b.secret, header...); got.status != 429 {
			t.Errorf("%v: %d", header, got.status)
		}
	}
	at = at.Add(time.Minute)
	b.sleep(time.Minute)
	if !passed(files[2].URL, "Range", "bytes=0-3") || b.ask(t, "HEAD", files[2].URL,
		b.secret).header.Get("RateLimit") != "" {
		t.Error("a new minute does not begin anew")
	}
	b.sleep(time.Minute)
	if b.ask(t, "HEAD", files[2].URL, b.secret).header.Get("X-Ratelimit-Remaining") != "6" {
		t.Error("a part after its window is free")
	}
}

// While publishing replaces files, a client reads the file that it began with to its end.
func TestFiles_DownloadWhileFilesAreReplaced(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	var readers sync.WaitGroup
	first := b.files(t, b.secret, "calls", "")[0]
	begun := make(chan struct{}, 1000)
	for range 8 {
		readers.Go(func() {
			for range 3 {
				files := b.files(t, b.secret, "calls", "")
				begun <- struct{}{}
				for _, file := range append(files, first) {
					half := fmt.Sprint(file.Bytes / 2)
					one := b.ask(t, "GET", file.URL, b.secret, "Range", "bytes=0-"+half)
					two := b.ask(t, "GET", file.URL, b.secret, "Range", "bytes="+half+"-", "If-Range", one.header.Get("Etag"))
					if one.status != 206 || two.status != 206 || int64(len(one.body)+len(two.body)) != file.Bytes+1 {
						t.Errorf("%s: %d and %d of %d bytes", file.Name, len(one.body), len(two.body), file.Bytes)
					}
				}
			}
		})
	}
	for n := range 5 {
		<-begun
		merge(t, b.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-02-10"}`, mine, id(1000+n)))
		_, err := b.warehouse.Publish(t.Context())
		noError(t, err)
	}
	readers.Wait()
	if b.content(t, first) == b.content(t, b.files(t, b.secret, "calls", "")[0]) {
		t.Error("nothing was replaced")
	}
}

// A file that is being read when its key is revoked is cut off; and a client that takes nothing at all is, after a
// while.
func TestFiles_StalledReadersAreDisconnected(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	b.fill(t, filled)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	files := b.files(t, b.secret, "calls", "")
	file := files[len(files)-1]
	handler, ended := watched(b.Config.Handler)
	server := smallBuffers(httptest.NewUnstartedServer(handler))
	server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			noError(t, httpapi.CutStalled(conn, 500*time.Millisecond))
		}
	}
	server.Start()
	defer server.Close()
	read := func(then func()) {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
		noError(t, err)
		defer conn.Close()
		noError(t, conn.(*net.TCPConn).SetReadBuffer(4096))
		_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", file.URL, b.secret)
		noError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 100)) // it has begun
		noError(t, err)
		then()
		if cause, _ := (<-ended).(error); !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("the answer ended with %v", cause)
		}
	}
	read(func() {})
	read(func() {
		_, err := b.warehouse.RevokeKey(t.Context(), b.id)
		noError(t, err)
	})
}

// noiseBytes is the number of random bytes that noise returns in hexadecimal form.
const noiseBytes = 2048

// noise is a text of 4 KB that does not compress.
func noise(seed int) string {
	bytes := make([]byte, noiseBytes)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(bytes) // it never fails
	return hex.EncodeToString(bytes)
}
