package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/voicory/warehouse/internal/pythontest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A bucketStore is an object store with the bucket lakes. It holds the answer of one PUT request.
type bucketStore struct {
	*httptest.Server
	backend *s3mem.Backend

	mu      sync.Mutex
	held    chan struct{}                            // closed when the request is held; guarded by mu
	release chan struct{}                            // closed when its answer may be sent; guarded by mu
	hold    func(*http.Request) (before, after bool) // whether to hold it before or after its effect; guarded by mu
}

func startBucket(t *testing.T) *bucketStore {
	t.Helper()
	const secret = "s3cr3t-of-the-bucket"
	t.Setenv("AWS_ACCESS_KEY_ID", "access")
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	s := &bucketStore{backend: s3mem.New()}
	noError(t, s.backend.CreateBucket("lakes"))
	fake := gofakes3.New(s.backend).Server()
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		before, after := false, false
		if s.hold != nil {
			before, after = s.hold(r)
		}
		if before || after {
			s.hold = nil
		}
		held, release := s.held, s.release
		s.mu.Unlock()
		if !before {
			fake.ServeHTTP(w, r)
		}
		if before || after {
			close(held)
			<-release
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// flags returns the flags of a server that replicates to the bucket.
func (s *bucketStore) flags() []string {
	return []string{"--lake", "s3://lakes/voicory", "--lake-endpoint", s.URL}
}

// pointers returns the number of tables with a pointer.
func (s *bucketStore) pointers(t *testing.T) (n int) {
	t.Helper()
	list, err := s.backend.ListBucket("lakes", &gofakes3.Prefix{HasPrefix: true, Prefix: "voicory/"},
		gofakes3.ListBucketPage{})
	noError(t, err)
	for _, object := range list.Contents {
		if strings.HasSuffix(object.Key, "/metadata/version-hint.text") {
			n++
		}
	}
	return n
}

// A server that is killed while it replicates continues after its next start. Engines read the tables in the bucket
// without the server.
func TestServe_ReplicatesToBucketAfterKill(t *testing.T) {
	python := pythontest.Python(t, "duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5",
		"duckdb-extension-httpfs==1.5.5", "pyiceberg==0.12.0", "pyarrow==26.0.1", "polars==2.1.0", "chdb==4.4.0")
	s := startBucket(t)
	data := filepath.Join(t.TempDir(), "data")
	copyDemo(t, data)
	for name, hold := range map[string]func(*http.Request) (bool, bool){
		"before metadata is written": func(r *http.Request) (bool, bool) {
			return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".metadata.json"), false
		},
		"after a pointer is written": func(r *http.Request) (bool, bool) {
			return false, r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "version-hint.text")
		},
	} {
		held, release := make(chan struct{}), make(chan struct{})
		s.mu.Lock()
		s.held, s.release, s.hold = held, release, hold
		s.mu.Unlock()
		process, _, stderr := startProcess(t, data, s.flags()...)
		<-held
		noError(t, process.Process.Kill())
		close(release)
		log := stderr()
		_ = process.Wait()
		if n := s.pointers(t); n == len(schema.Exports) {
			t.Fatalf("%s: the server was killed too late", name)
		}
		if strings.Contains(log, os.Getenv("AWS_SECRET_ACCESS_KEY")) {
			t.Errorf("the log has the secret: %s", log)
		}
	}
	url, stop := serve(t, data, s.flags()...)
	until(t, "all tables have a pointer", func() bool { return s.pointers(t) == len(schema.Exports) })
	if status, body := get(t, url+"/readyz", ""); status != 200 || !strings.Contains(body, `"status":"ready"`) {
		t.Errorf("/readyz: got %d %s", status, body)
	}
	want := map[string]int64{}
	for _, export := range schema.Exports {
		lines := mustRun(t, "", "export", export.Name, "--data", data, "--tenant", demoTenant.ID.String()).stdout
		want[export.Name] = int64(strings.Count(lines, "\n"))
	}
	stop()

	command := exec.CommandContext(t.Context(), python, "testdata/bucket.py", s.URL, "lakes/voicory",
		demoTenant.ID.String(), "../../docs/bucket.md")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	var found map[string]struct{ DuckDB, PyIceberg int64 }
	noError(t, json.Unmarshal(out, &found))
	for name, rows := range want {
		if got := found[name]; got.DuckDB != rows || got.PyIceberg != rows || rows == 0 {
			t.Errorf("%s: got %+v, want %d rows", name, got, rows)
		}
	}
}

// A bucket that cannot be used is a condition with the error of the store. Everything else works.
func TestServe_UnusableBucket(t *testing.T) {
	s := startBucket(t)
	for name, flags := range map[string][]string{
		"unreachable":    {"--lake", "s3://lakes/voicory", "--lake-endpoint", "http://127.0.0.1:1"},
		"missing bucket": {"--lake", "s3://missing/voicory", "--lake-endpoint", s.URL},
	} {
		t.Run(name, func(t *testing.T) {
			data, key := newFolderWithKey(t)
			url, stop := serve(t, data, flags...)
			until(t, "the condition is reported", func() bool {
				_, body := get(t, url+"/readyz", key)
				return strings.Contains(body, `"bucket_failing":1`)
			})
			mustRun(t, callLine(1), "ingest", "--data", data, "--dataset", "calls", "-")
			if status, body := get(t, url+"/api/v1/calls", key); status != 200 || !strings.Contains(body, "000000000001") {
				t.Errorf("got %d %s", status, body)
			}
			stop()
		})
	}
	for _, flags := range [][]string{{"--lake", "lakes/voicory"},
		{"--lake", "s3://lakes", "--lake-endpoint", "s3.example.com"},
		{"--lake", "file:///lake"}, {"--lake", "s3://access:secret@lakes/voicory"}} {
		got := wantStatus(t, run(t, "", append([]string{"serve", "--data", t.TempDir()}, flags...)...), exitUsage)
		if strings.Contains(got.stderr, "access:secret") {
			t.Errorf("got %q", got.stderr)
		}
	}
}

// A server with --lake-cache removes files that are in the bucket, and reads them again when they are requested.
// Without the option they come back.
func TestServe_LakeCache(t *testing.T) {
	s := startBucket(t)
	data := filepath.Join(t.TempDir(), "data")
	key := copyDemo(t, data).Secret
	inLake := func() int {
		files, err := filepath.Glob(filepath.Join(data, "lake", "*", "calls", "*", "*.parquet"))
		noError(t, err)
		return len(files)
	}
	all := inLake()
	count := func(url string) (int, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/query",
			strings.NewReader(`{"sql": "SELECT count(*) AS n FROM calls"}`))
		noError(t, err)
		request.Header.Set("X-API-Key", key)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		noError(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		noError(t, err)
		return response.StatusCode, string(body)
	}
	url, stop := serve(t, data, append(s.flags(), "--lake-cache", "100KB")...)
	until(t, "files are evicted", func() bool { return inLake() <= 2 })
	if status, body := count(url); status != http.StatusServiceUnavailable || !strings.Contains(body, "--lake-cache") {
		t.Errorf("SQL with a small cache: got %d %s", status, body)
	}
	_, list := get(t, url+"/api/v1/exports/calls/files", key)
	var files struct {
		Data []struct{ Name, SHA256 string }
	}
	noError(t, json.Unmarshal([]byte(list), &files))
	for _, file := range files.Data[:5] {
		status, body := get(t, url+"/api/v1/exports/calls/files/"+file.Name, key)
		if sum := sha256.Sum256([]byte(body)); status != http.StatusOK || hex.EncodeToString(sum[:]) != file.SHA256 {
			t.Errorf("%s: got %d and %d bytes", file.Name, status, len(body))
		}
	}
	if len(files.Data) != all {
		t.Errorf("got %d files, want %d", len(files.Data), all)
	}
	if found := mustRun(t, "", "verify", "--data", data).stdout; !strings.Contains(found,
		"in the bucket of the lake only") {
		t.Errorf("verify: got %s", found)
	}
	stop()
	if found := mustRun(t, "", "verify", "--data", data).stdout; !strings.Contains(found, "0 findings") {
		t.Errorf("verify without a server: got %s", found)
	}

	url, stop = serve(t, data, append(s.flags(), "--lake-cache", "10MB")...)
	if status, body := count(url); status != http.StatusOK || !strings.Contains(body, "[[2000]]") {
		t.Errorf("SQL: got %d %s, want 2000 calls", status, body)
	}
	stop()

	_, stop = serve(t, data)
	until(t, "all files are published again", func() bool { return inLake() == all })
	stop()
	if status := run(t, "", "serve", "--data", data, "--lake-cache", "1GB").status; status != exitUsage {
		t.Errorf("--lake-cache without --lake: got status %d", status)
	}
}
