package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/voicory/warehouse/httpapi/openapi/openapitest"
	"github.com/voicory/warehouse/ingest/demo"
)

// pusher pushes rows to a server with a secret key of someTenant.
type pusher struct {
	data, url, key string
	stop           func()
}

func newPusher(t *testing.T, flags ...string) *pusher {
	t.Helper()
	p := &pusher{data: t.TempDir()}
	p.url, p.stop = serve(t, p.data, append([]string{"--rate-limit", "none"}, flags...)...)
	p.key = createKey(t, p.data, someTenant, "secret")
	return p
}

// pushResult is the response to a push.
type pushResult struct {
	status int
	header http.Header
	body   string
	code   string // error code; "" for success
	counts [7]int // read, new, changed, unchanged, deleted, superseded, refused
}

type pushCounts struct {
	Read, New, Changed, Unchanged, Deleted, Superseded, Refused int
	Refusals                                                    []struct {
		Line   int
		Reason string
	}
}

// push sends a body. headers are pairs of a name and a value. It checks the response against the OpenAPI document.
func (p *pusher) push(t *testing.T, dataset, contentType string, body io.Reader, headers ...string) pushResult {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/api/v1/ingest/"+dataset, body)
	noError(t, err)
	request.Header.Set("x-api-key", p.key)
	request.Header.Set("Content-Type", contentType)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.DefaultClient.Do(request)
	noError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	noError(t, err)
	openapitest.Check(t, request, response, text)
	for _, hidden := range []string{p.data, os.TempDir(), someTenant, "duckdb"} {
		if strings.Contains(string(text), hidden) {
			t.Errorf("the response contains %s: %s", hidden, text)
		}
	}
	var answer struct {
		Data  pushCounts
		Error struct {
			Code    string
			Outcome pushCounts
		}
	}
	noError(t, json.Unmarshal(text, &answer))
	o := answer.Data
	if answer.Error.Code != "" {
		o = answer.Error.Outcome
	}
	return pushResult{response.StatusCode, response.Header, string(text), answer.Error.Code,
		[7]int{o.Read, o.New, o.Changed, o.Unchanged, o.Deleted, o.Superseded, o.Refused}}
}

func (got pushResult) want(t *testing.T, status int, code string, counts ...int) pushResult {
	t.Helper()
	var want [7]int
	copy(want[:], counts)
	if got.status != status || got.code != code || got.counts != want {
		t.Fatalf("got %d %s, want %d %s %v", got.status, got.body, status, code, want)
	}
	return got
}

func gzipped(t *testing.T, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	writer := gzip.NewWriter(&out)
	_, err := writer.Write(plain)
	noError(t, errors.Join(err, writer.Close()))
	return out.Bytes()
}

func zstdCompressed(t *testing.T, plain []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	noError(t, err)
	packed := encoder.EncodeAll(plain, nil)
	noError(t, encoder.Close())
	return packed
}

// inFormats converts NDJSON to every format that can be pushed. The keys of the result are content types.
func inFormats(t *testing.T, ndjson []byte) map[string][]byte {
	t.Helper()
	dir := t.TempDir()
	in := filepath.Join(dir, "in.ndjson")
	noError(t, os.WriteFile(in, ndjson, 0o600))
	connector, err := duckdb.NewConnector("", nil)
	noError(t, err)
	defer func() { noError(t, connector.Close()) }()
	conn, err := connector.Connect(t.Context())
	noError(t, err)
	defer func() { noError(t, conn.Close()) }()
	interchange, err := duckdb.NewArrowFromConn(conn)
	noError(t, err)
	texts := fmt.Sprintf("SELECT COLUMNS(*) ->> '$' FROM read_json('%s', sample_size = -1, maximum_depth = 1)", in)
	reader, err := interchange.QueryContext(t.Context(), texts)
	noError(t, err)
	defer reader.Release()
	var arrow bytes.Buffer
	writer := ipc.NewWriter(&arrow, ipc.WithSchema(reader.Schema()), ipc.WithZstd())
	for reader.Next() {
		noError(t, writer.Write(reader.RecordBatch()))
	}
	noError(t, errors.Join(reader.Err(), writer.Close()))
	formats := map[string][]byte{
		"application/x-ndjson": ndjson, "application/vnd.apache.arrow.stream": arrow.Bytes(),
		"application/json": append(append([]byte("["), bytes.ReplaceAll(bytes.TrimSpace(ndjson), []byte("\n"),
			[]byte(",\n"))...), ']'),
	}
	for contentType, format := range map[string]string{"text/csv": "csv", "application/vnd.apache.parquet": "parquet"} {
		out := filepath.Join(dir, "out."+format)
		copied, err := interchange.QueryContext(t.Context(), fmt.Sprintf("COPY (%s) TO '%s' (FORMAT %s)", texts, out, format))
		noError(t, err)
		copied.Release()
		formats[contentType], err = os.ReadFile(out)
		noError(t, err)
	}
	return formats
}

// A push results in the same rows in every format. The calls are pushed plain and then with gzip, which changes
// nothing. The customers are pushed with zstd, and the messages as chunks of zstd. Rows of every format are typed in
// the same way, so customers and messages need not have all formats.
func TestPush_EveryFormat(t *testing.T) {
	t.Parallel()
	p := newPusher(t)
	tenant := demo.Tenant{ID: demoTenant.ID, Calls: 40, Customers: 10, Messages: 30, Days: 45}
	someFormats := map[string][]string{"customers": {"text/csv", "application/vnd.apache.parquet"},
		"messages": {"application/json", "application/vnd.apache.arrow.stream"}}
	// Keys by content type. Each has a tenant of its own.
	keys := map[string]string{"file": createKey(t, p.data, tenant.ID.String(), "secret")}
	for dataset, write := range map[string]func(io.Writer) error{"calls": tenant.WriteCalls,
		"customers": tenant.WriteCustomers, "messages": tenant.WriteMessages} {
		t.Run(dataset, func(t *testing.T) {
			var ndjson bytes.Buffer
			noError(t, write(&ndjson))
			rows := bytes.Count(ndjson.Bytes(), []byte("\n"))
			file := filepath.Join(t.TempDir(), dataset+".ndjson")
			noError(t, os.WriteFile(file, ndjson.Bytes(), 0o600))
			mustRun(t, "", "ingest", "--data", p.data, file)
			// the key determines the tenant
			own := bytes.ReplaceAll(ndjson.Bytes(), fmt.Appendf(nil, `"user_id":%q,`, tenant.ID), nil)
			formats := inFormats(t, own)
			want := rowsOf(t, p.url, keys["file"], dataset)
			if len(want) != rows {
				t.Fatalf("%d rows from the file", len(want))
			}
			for contentType, plain := range formats {
				if some := someFormats[dataset]; some != nil && !slices.Contains(some, contentType) {
					continue
				}
				if keys[contentType] == "" {
					keys[contentType] = createKey(t, p.data, fmt.Sprintf("bbbbbbbb-0000-4000-8000-%012d", len(keys)), "secret")
				}
				p.key = keys[contentType]
				switch dataset {
				case "calls":
					p.push(t, dataset, contentType+"; charset=UTF-8", bytes.NewReader(plain)).want(t, 200, "", rows, rows)
					p.push(t, dataset, contentType, bytes.NewReader(gzipped(t, plain)), "Content-Encoding", "gzip").want(t, 200,
						"", rows, 0, 0, rows)
				case "customers":
					p.push(t, dataset, contentType, bytes.NewReader(zstdCompressed(t, plain)), "Content-Encoding",
						"zstd").want(t, 200, "", rows, rows)
				case "messages":
					chunked := io.MultiReader(bytes.NewReader(zstdCompressed(t, plain)))
					p.push(t, dataset, contentType, chunked).want(t, 200, "", rows, rows)
				}
				got := rowsOf(t, p.url, p.key, dataset)
				for id, row := range want {
					if got[id] != row || len(got) != len(want) {
						t.Fatalf("%s: got %d rows and %s\nwant %d and %s", contentType, len(got), got[id], len(want), row)
					}
				}
			}
		})
	}
}

// Files of other writers hold the same rows: pushing one after another changes nothing. One file of each kind is
// pushed; the tests of package ingest read the files of every writer.
func TestPush_FilesOfWriters(t *testing.T) {
	t.Parallel()
	const folder = "../../ingest/testdata/writers"
	rows, err := os.ReadFile(filepath.Join(folder, "rows.ndjson"))
	noError(t, err)
	p := newPusher(t)
	p.push(t, "calls", "application/x-ndjson", bytes.NewReader(rows)).want(t, 200, "", 3, 3)
	for extension, contentType := range map[string]string{
		"ndjson": "application/x-ndjson", "json": "application/json", "csv": "text/csv", "tsv": "text/csv",
		"parquet": "application/vnd.apache.parquet", "arrow": "application/vnd.apache.arrow.file",
		"feather": "application/vnd.apache.arrow.file", "arrows": "application/vnd.apache.arrow.stream",
	} {
		files, err := filepath.Glob(filepath.Join(folder, "*."+extension))
		noError(t, err)
		if len(files) == 0 {
			t.Errorf("got no file with the extension %s, want one", extension)
			continue
		}
		t.Run(filepath.Base(files[0]), func(t *testing.T) {
			content, err := os.ReadFile(files[0])
			noError(t, err)
			p.push(t, "calls", contentType, bytes.NewReader(content)).want(t, 200, "", 3, 0, 0, 3)
		})
	}
}

func pushLine(n int, more string) string {
	return fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"%s}`+"\n", n, more)
}

// Valid bodies are accepted, and each kind of invalid body gets its status and error code.
func TestPush_Bodies(t *testing.T) {
	t.Parallel()
	p := newPusher(t, "--max-body", "20MB")
	const ndjson = "application/x-ndjson"
	row := pushLine(1, `,"summary":"नमस्ते \u00e9 😀"`)
	zipped := gzipped(t, []byte(row+pushLine(2, "")+strings.Repeat(pushLine(3, ""), 20_000)))
	for _, test := range []struct {
		name, contentType, body string
		headers                 []string
		status                  int
		code                    string
		counts                  []int
	}{
		{"nothing", ndjson, "", nil, 200, "", nil},
		{"one row", ndjson, row, nil, 200, "", []int{1, 1}},
		{"without a newline, with a mark", ndjson, "\ufeff" + strings.TrimSpace(row), nil, 200, "", []int{1, 0, 0, 1}},
		{"an id twice", ndjson, pushLine(1, `,"summary":"a"`) + pushLine(1, `,"summary":"b"`), nil, 200, "",
			[]int{2, 0, 1, 0, 0, 1}},
		{"a deletion", "application/json",
			`[{"id":"00000000-0000-4000-8000-000000000001","deleted_at":"2026-06-01T10:00:00Z"}]`, nil, 200, "",
			[]int{1, 0, 0, 0, 1}},
		{"an empty array", "application/json", " [] ", nil, 200, "", nil},
		{"a CSV of a header", "text/csv", "id,created_at\n", nil, 200, "", nil},
		{"another tenant's row", ndjson, pushLine(7, `,"user_id":"bbbbbbbb-0000-4000-8000-000000000002"`) + pushLine(8, ""),
			nil, 200, "", []int{2, 1, 0, 0, 0, 0, 1}},
		{"a huge line", ndjson, `{"x":"` + strings.Repeat("x", 17<<20) + "\"}\n" + pushLine(9, ""), nil, 200, "",
			[]int{2, 1, 0, 0, 0, 0, 1}},
		{"no good row", ndjson, "{}\n1\n", nil, 422, "NO_ROW_ACCEPTED", []int{2, 0, 0, 0, 0, 0, 2}},
		{"one object", "application/json", row, nil, 200, "", []int{1, 1}},
		{"a page of the API", "application/json", `{"data":[` + row + `],"meta":{}}`, nil, 200, "", []int{1, 0, 0, 1}},
		{"half an array", "application/json", "[" + pushLine(10, "") + `,{"id":`, nil, 422, "UNREADABLE_BODY", []int{1, 1}},
		{"no Parquet", "application/vnd.apache.parquet", "PAR1PAR1PAR1PAR1PAR1", nil, 422, "UNREADABLE_BODY", nil},
		{"no Arrow", "application/vnd.apache.arrow.stream", "", nil, 422, "UNREADABLE_BODY", nil},
		{"no gzip", ndjson, "\x1f\x8bnone", nil, 422, "UNREADABLE_BODY", nil},
		{"no type", "", row, nil, 415, "UNSUPPORTED_MEDIA_TYPE", nil},
		{"a form", "application/x-www-form-urlencoded", row, nil, 415, "UNSUPPORTED_MEDIA_TYPE", nil},
		{"another charset", "text/csv; charset=latin1", "id\n", nil, 415, "UNSUPPORTED_MEDIA_TYPE", nil},
		{"another encoding", ndjson, row, []string{"Content-Encoding", "br"}, 415, "UNSUPPORTED_MEDIA_TYPE", nil},
		{"a short key", ndjson, row, []string{"Idempotency-Key", "1234567"}, 400, "INVALID_IDEMPOTENCY_KEY", nil},
		{"a key with a space", ndjson, row, []string{"Idempotency-Key", "12345 678"}, 400, "INVALID_IDEMPOTENCY_KEY", nil},
		{"problem+json", "text/plain", row, []string{"Accept", "application/problem+json"}, 415, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p.push(t, "calls", test.contentType, strings.NewReader(test.body), test.headers...).want(t, test.status, test.code,
				test.counts...)
		})
	}
	if got := p.push(t, "calls", ndjson, bytes.NewReader(zipped[:len(zipped)/2])); got.status != 422 ||
		got.code != "UNREADABLE_BODY" || got.counts[1] < 1 || got.counts[0] >= 20_002 {
		t.Errorf("half a gzip: %d %s", got.status, got.body)
	}
	p.push(t, "faxes", ndjson, strings.NewReader(row)).want(t, 404, "NOT_FOUND")
	large := bytes.Repeat([]byte(strings.Repeat(" ", 999)+"\n"), 20_001)
	p.push(t, "calls", ndjson, bytes.NewReader(large)).want(t, 413, "PAYLOAD_TOO_LARGE")
	if left, err := os.ReadDir(filepath.Join(p.data, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	p.key = strings.TrimSpace(run(t, "", "keys", "create", "--data", p.data, "--tenant", someTenant, "--type",
		"public").stdout)
	p.push(t, "calls", ndjson, strings.NewReader(row)).want(t, 403, "SECRET_KEY_REQUIRED")
}

// A small body that decompresses to a large one is refused at the limit, in every format.
func TestPush_DecompressionBomb(t *testing.T) {
	t.Parallel()
	p := newPusher(t, "--max-body", "40KB")
	rows := strings.Repeat(pushLine(1, ""), 8_000)
	for contentType, plain := range inFormats(t, []byte(rows)) {
		if contentType == "application/vnd.apache.parquet" {
			continue // its dictionary has the values once, so it is small also when decompressed
		}
		got := p.push(t, "calls", contentType, bytes.NewReader(gzipped(t, plain)))
		if got.status != 413 || got.code != "PAYLOAD_TOO_LARGE" {
			t.Errorf("%s: %d %s", contentType, got.status, got.body)
		}
	}
	if left, err := os.ReadDir(filepath.Join(p.data, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A push with an idempotency key is done once, also across a restart. A different push with the same key is refused.
func TestPush_IdempotencyKey(t *testing.T) {
	t.Parallel()
	p := newPusher(t)
	const ndjson = "application/x-ndjson"
	name := []string{"Idempotency-Key", "nightly-2026-04-18"}
	first := p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, "")+"{}\n"), name...).want(t, 200, "", 2, 1, 0, 0, 0,
		0, 1)
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first push is marked as replayed")
	}
	again := func() {
		t.Helper()
		got := p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, "")+"{}\n"), name...)
		if got.body != first.body || got.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("got %d %s, want %s", got.status, got.body, first.body)
		}
	}
	again()
	p.push(t, "calls", ndjson, strings.NewReader(pushLine(2, "")), name...).want(t, 422, "IDEMPOTENCY_KEY_REUSED")
	p.push(t, "messages", ndjson, strings.NewReader(pushLine(1, "")+"{}\n"), name...).want(t, 422,
		"IDEMPOTENCY_KEY_REUSED")
	// A key of a failed push can be used again.
	p.push(t, "calls", ndjson, strings.NewReader("{}"), "Idempotency-Key", "another-one").want(t, 422, "NO_ROW_ACCEPTED",
		1, 0, 0, 0, 0, 0, 1)
	p.push(t, "calls", ndjson, strings.NewReader(pushLine(3, "")), "Idempotency-Key", "another-one").want(t, 200, "", 1, 1)
	p.stop()
	p.url, p.stop = serve(t, p.data, "--rate-limit", "none")
	again()
}

// hold starts a push and waits until the server requests its body. The test writes the body to conn.
func (p *pusher) hold(t *testing.T, headers string) (conn net.Conn) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	noError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /api/v1/ingest/calls HTTP/1.1\r\nHost: x\r\nx-api-key: %s\r\nContent-Type: "+
		"application/x-ndjson\r\nExpect: 100-continue\r\n%s\r\n", p.key, headers)
	noError(t, err)
	begun := make([]byte, 25)
	if _, err = io.ReadFull(conn, begun); err != nil || string(begun) != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("%q %v", begun, err)
	}
	return conn
}

// A key can have two concurrent pushes whose first bytes have arrived, and one push per idempotency key. A body whose
// Content-Length is too large is refused before it is sent.
func TestPush_ConcurrencyLimits(t *testing.T) {
	t.Parallel()
	p := newPusher(t, "--max-body", "1MB")
	const ndjson, chunked = "application/x-ndjson", "Transfer-Encoding: chunked\r\n"
	held := p.hold(t, chunked+"Idempotency-Key: nightly-2026\r\n")
	p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, "")), "Idempotency-Key", "nightly-2026").want(t, 409,
		"IDEMPOTENCY_KEY_IN_USE")
	other := p.hold(t, chunked)
	// the held pushes have no slot before their first bytes
	p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, ""))).want(t, 200, "", 1, 1)
	line := pushLine(1, "")
	beginning := strings.Repeat(line, 300<<10/len(line))
	for _, conn := range []net.Conn{held, other} {
		_, err := fmt.Fprintf(conn, "%x\r\n%s\r\n", len(beginning), beginning)
		noError(t, err)
	}
	got := p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, "")))
	for got.status == 200 { // the server has not read the bytes of both yet
		got = p.push(t, "calls", ndjson, strings.NewReader(pushLine(1, "")))
	}
	if got.want(t, 429, "RATE_LIMIT_EXCEEDED"); got.header.Get("Retry-After") == "" {
		t.Error(got.header)
	}
	_, err := fmt.Fprintf(held, "%x\r\n%s\r\n0\r\n\r\n", len(line), line)
	noError(t, err)
	answer := make([]byte, 12)
	_, err = io.ReadFull(held, answer)
	noError(t, err)
	if string(answer) != "HTTP/1.1 200" {
		t.Errorf("%s", answer)
	}
	// The server sends 413 before the end of the body.
	_, err = fmt.Fprintf(other, "%x\r\n%s\r\n", 1_100_000, strings.Repeat(" ", 1_100_000))
	noError(t, err)
	_, err = io.ReadFull(other, answer)
	noError(t, err)
	if string(answer) != "HTTP/1.1 413" {
		t.Errorf("%s", answer)
	}
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "http://"))
	noError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST /api/v1/ingest/calls HTTP/1.1\r\nHost: x\r\nx-api-key: %s\r\nContent-Type: "+
		"text/csv\r\nExpect: 100-continue\r\nContent-Length: 1000001\r\n\r\n", p.key)
	noError(t, err)
	_, err = io.ReadFull(conn, answer)
	noError(t, err)
	if string(answer) != "HTTP/1.1 413" {
		t.Errorf("%s", answer)
	}
}

// If the client disconnects or the key is revoked during a push, no row is merged and no file is left.
func TestPush_EndsMidway(t *testing.T) {
	t.Parallel()
	p := newPusher(t)
	line := pushLine(1, "")
	gone := p.hold(t, "Content-Length: 1000\r\n")
	_, err := io.WriteString(gone, line)
	noError(t, err)
	noError(t, gone.Close())
	held := p.hold(t, "Content-Length: 1000\r\n")
	_, err = io.WriteString(held, line)
	noError(t, err)
	var keys []struct{ ID string }
	noError(t, json.Unmarshal([]byte(run(t, "", "keys", "list", "--data", p.data, "--json").stdout), &keys))
	mustRun(t, "", "keys", "revoke", "--data", p.data, keys[0].ID)
	response, err := http.ReadResponse(bufio.NewReader(held), nil)
	noError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusUnauthorized || !bytes.Contains(answer, []byte("REVOKED_API_KEY")) {
		t.Errorf("%d %s %v", response.StatusCode, answer, err)
	}
	noError(t, held.Close()) // the server waits for the rest of the body
	p.key = createKey(t, p.data, someTenant, "secret")
	if status, body := get(t, p.url+"/api/v1/calls", p.key); status != 200 || !strings.Contains(body, `"total":0`) {
		t.Errorf("%d %s", status, body)
	}
	p.stop()
	for _, folder := range []string{"tmp", "quarantine"} {
		if left, err := os.ReadDir(filepath.Join(p.data, folder)); err != nil || len(left) > 0 {
			t.Errorf("left behind in %s: %v %v", folder, left, err)
		}
	}
}

// A server that is killed right after it sent 200 has stored the rows and the idempotency record.
func TestPush_SurvivesKill(t *testing.T) {
	t.Parallel()
	p := &pusher{data: t.TempDir()}
	p.key = createKey(t, p.data, someTenant, "secret")
	for n := range 2 {
		var kill func()
		p.url, kill = startServer(t, p.data)
		if n > 0 {
			if got := p.push(t, "calls", "application/x-ndjson", strings.NewReader(pushLine(n-1, "")), "Idempotency-Key",
				fmt.Sprint("push-no-", n-1)); got.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("push %d is not replayed: %s", n-1, got.body)
			}
			if status, body := get(t, p.url+"/api/v1/calls", p.key); status != 200 ||
				!strings.Contains(body, fmt.Sprintf(`"total":%d,`, n)) {
				t.Errorf("after %d pushes: %d %s", n, status, body)
			}
		}
		p.push(t, "calls", "application/x-ndjson", strings.NewReader(pushLine(n, "")), "Idempotency-Key",
			fmt.Sprint("push-no-", n)).want(t, 200, "", 1, 1)
		kill()
	}
}

// startServer starts a server as a child process. kill ends it with SIGKILL.
func startServer(t *testing.T, data string) (url string, kill func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, os.Args[0], "serve", "--data", data, "--listen", "127.0.0.1:0", "--log-format",
		"json")
	command.Env = append(os.Environ(), runAsProgram+"=yes")
	stderr, err := command.StderrPipe()
	noError(t, err)
	noError(t, command.Start())
	logged := json.NewDecoder(stderr)
	for url == "" {
		var line struct{ Msg, Address string }
		noError(t, logged.Decode(&line))
		if line.Msg == "serving" {
			url = "http://" + line.Address
		}
	}
	var drained sync.WaitGroup
	drained.Go(func() { _, _ = io.Copy(io.Discard, stderr) }) // until it is killed
	return url, func() {
		cancel()
		drained.Wait()
		if err := command.Wait(); err == nil {
			t.Error("got exit status 0, want the server to be killed")
		}
	}
}

// Pushes work over HTTP/2, also with a body that is too large.
func TestPush_HTTP2(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	makeCertificate(t, certFile, keyFile, 1)
	p := newPusher(t, "--tls-cert", certFile, "--tls-key", keyFile, "--max-body", "1MB")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		ForceAttemptHTTP2: true}} //nolint:gosec // it is the test's own server
	defer client.CloseIdleConnections()
	for body, status := range map[string]int{pushLine(1, ""): 200, strings.Repeat(" ", 1_000_001): 413} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
			strings.Replace(p.url, "http:", "https:", 1)+"/api/v1/ingest/calls", io.MultiReader(strings.NewReader(body)))
		noError(t, err)
		request.Header.Set("x-api-key", p.key)
		request.Header.Set("Content-Type", "application/x-ndjson")
		response, err := client.Do(request)
		noError(t, err)
		defer response.Body.Close()
		if response.StatusCode != status || response.Proto != "HTTP/2.0" {
			t.Errorf("got %d over %s, want %d over HTTP/2.0", response.StatusCode, response.Proto, status)
		}
	}
}
