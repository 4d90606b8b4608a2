package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/exports/query"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/ingest/filereader"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// runAsProgram is an environment variable. If it is set, the test binary runs main, so that tests can kill the program.
const runAsProgram = "VOICORY_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) != "" || len(os.Args) == 2 && slices.Contains(
		[]string{query.WorkerArgument, filereader.Argument}, os.Args[1]) {
		main()
	}
	// The race detector delays the exit of a process by a second, and the tests start many processes.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=10"); err != nil {
		panic(err)
	}
	var err error
	if templates, err = os.MkdirTemp("", "voicory-test-"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		_ = os.RemoveAll(templates)
		if platformServer.server != nil {
			if err := platformServer.server.Stop(); err != nil {
				panic(err)
			}
		}
		os.Exit(status)
	}))
}

// templates is a folder with the data folders that tests copy.
var templates string

// A demoTemplate is the data folder that demo creates, for tests that read it.
var demoTemplate struct {
	sync.Once
	keys demoKeys
}

// copyDemo creates a data folder with the rows of the demo tenant and returns its keys.
func copyDemo(t *testing.T, data string) demoKeys {
	t.Helper()
	template := filepath.Join(templates, "demo")
	demoTemplate.Do(func() {
		out := mustRun(t, "", "demo", "--data", template, "--json").stdout
		noError(t, json.Unmarshal([]byte(out), &demoTemplate.keys))
	})
	noError(t, exec.CommandContext(t.Context(), "cp", "-a", template, data).Run())
	return demoTemplate.keys
}

// writeDump writes the rows of a tenant to a folder, as a file per dataset.
func writeDump(t *testing.T, dir string, tenant demo.Tenant) {
	t.Helper()
	for dataset, write := range map[string]func(io.Writer) error{"calls": tenant.WriteCalls,
		"customers": tenant.WriteCustomers, "messages": tenant.WriteMessages} {
		file, err := os.Create(filepath.Join(dir, dataset+".ndjson"))
		noError(t, err)
		noError(t, errors.Join(write(file), file.Close()))
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type result struct {
	status         int
	stdout, stderr string
}

// run runs a command in this process.
func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	program := Main{Args: args, Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr}
	return result{program.Run(t.Context()), stdout.String(), stderr.String()}
}

func wantStatus(t *testing.T, got result, status int) result {
	t.Helper()
	if got.status != status {
		t.Fatalf("got exit status %d, want %d\nstdout: %s\nstderr: %s", got.status, status, got.stdout, got.stderr)
	}
	return got
}

// mustRun runs a command that must exit with status 0.
func mustRun(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return wantStatus(t, run(t, stdin, args...), exitDone)
}

// createKey creates a key of a tenant and returns its text.
func createKey(t *testing.T, data, tenant, keyType string, flags ...string) string {
	t.Helper()
	args := append([]string{"keys", "create", "--data", data, "--tenant", tenant, "--type", keyType}, flags...)
	return strings.TrimSpace(mustRun(t, "", args...).stdout)
}

// serve runs a server on the folder until stop is called. It returns the URL of the server.
func serve(t *testing.T, data string, flags ...string) (url string, stop func()) {
	t.Helper()
	urls, stop := serveAll(t, data, flags...)
	return urls[0], stop
}

// serveAll is like serve, and also returns the URLs of --operator-listen and --tables-listen.
func serveAll(t *testing.T, data string, flags ...string) (urls []string, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	listening, done := make(chan []string, 1), make(chan int, 1)
	var stderr bytes.Buffer
	program := Main{Args: append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, flags...),
		Stdout: io.Discard, Stderr: &stderr, Listening: func(addresses []string) { listening <- addresses }, NoIdleWorkers: true}
	go func() { done <- program.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if status := <-done; status != exitDone {
			t.Errorf("got exit status %d of the server, want %d: %s", status, exitDone, stderr.String())
		}
	})
	t.Cleanup(stop)
	select {
	case addresses := <-listening:
		for _, address := range addresses {
			urls = append(urls, "http://"+address)
		}
		return urls, stop
	case status := <-done:
		t.Fatalf("the server did not start: %d %s", status, stderr.String())
		return nil, nil
	}
}

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	noError(t, err)
	request.Header.Set("x-api-key", key)
	response, err := http.DefaultClient.Do(request)
	noError(t, err)
	defer http.DefaultClient.CloseIdleConnections()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	noError(t, err)
	return response.StatusCode, string(body)
}

const someTenant = "aaaaaaaa-0000-4000-8000-000000000001"

func callLine(n int) string {
	return fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"}`+"\n",
		someTenant, n)
}

func TestCommands_UseTheRunningServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	url, stop := serve(t, data)

	key := createKey(t, data, someTenant, "public")
	if !strings.HasPrefix(key, "pk_") {
		t.Fatalf("key is %q", key)
	}
	if status, body := get(t, url+"/api/v1/calls", key); status != 200 || !strings.Contains(body, `"total":0`) {
		t.Fatal(status, body)
	}
	// Rows of a file and of standard input are sent over the socket, and are served and published at once.
	file := filepath.Join(t.TempDir(), "calls.ndjson")
	noError(t, os.WriteFile(file, []byte(callLine(1)+"nonsense\n"), 0o600))
	got := mustRun(t, "", "ingest", "--data", data, file)
	if !strings.Contains(got.stdout,
		"read 2 rows of 1 files: 1 new, 0 changed, 0 unchanged, 1 refused\npublished 2 files, 1 rows\n") ||
		!strings.Contains(got.stdout, "line 2: line is not a JSON object") {
		t.Fatal(got.stdout)
	}
	mustRun(t, callLine(1)+callLine(2), "ingest", "--data", data, "--dataset", "calls", "-")
	if _, body := get(t, url+"/api/v1/calls", key); !strings.Contains(body, `"total":2`) {
		t.Fatal(body)
	}
	deletion := fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-000000000002","deleted_at":"2026-06-01T10:00:00Z"}`, someTenant)
	got = mustRun(t, deletion, "ingest", "--data", data, "--dataset", "calls", "-")
	if !strings.HasPrefix(got.stdout,
		"read 1 rows of 1 files: 0 new, 0 changed, 0 unchanged, 0 refused, 1 deleted\npublished 2 files, 1 rows\n") {
		t.Fatal(got.stdout)
	}
	if _, body := get(t, url+"/api/v1/calls", key); !strings.Contains(body, `"total":1`) {
		t.Fatal(body)
	}
	// Errors keep their kind over the socket.
	if got := wantStatus(t, run(t, "", "keys", "revoke", "--data", data, "99999999-0000-4000-8000-000000000001"),
		exitFailed); !strings.Contains(got.stderr, "keys list") {
		t.Error(got.stderr)
	}
	var keys []control.Key
	noError(t, json.Unmarshal([]byte(run(t, "", "keys", "list", "--data", data, "--json").stdout), &keys))
	if len(keys) != 1 || strings.Contains(fmt.Sprint(keys), key) {
		t.Fatalf("keys are %v", keys)
	}
	mustRun(t, "", "keys", "revoke", "--data", data, keys[0].ID.String())
	if status, body := get(t, url+"/api/v1/calls", key); status != 401 || !strings.Contains(body, "REVOKED_API_KEY") {
		t.Fatal(status, body)
	}
	if got := run(t, "", "tenants", "list", "--data", data); !strings.HasPrefix(got.stdout, someTenant) {
		t.Error(got.stdout)
	}
	if info, err := os.Stat(filepath.Join(data, "voicory.sock")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v %v", info, err)
	}
	// A second server on the folder is refused. After the first has stopped, commands open the folder themselves.
	if got := wantStatus(t, run(t, "", "serve", "--data", data, "--listen", "127.0.0.1:0"),
		exitFailed); !strings.Contains(got.stderr, "data folder is in use") {
		t.Error(got.stderr)
	}
	stop()
	if got := run(t, "", "keys", "list", "--data", data); !strings.Contains(got.stdout, "public") ||
		strings.Count(got.stdout, "\n") != 2 {
		t.Error(got.stdout)
	}
}

func TestMain_ExitStatus(t *testing.T) {
	t.Parallel()
	data, dir := t.TempDir(), t.TempDir()
	noError(t, os.WriteFile(filepath.Join(dir, "calls.ndjson"), []byte(callLine(1)+"{}\n"), 0o600))
	noError(t, os.WriteFile(filepath.Join(dir, "notes.xlsx"), []byte("PK"), 0o600))
	noError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("about"), 0o600))
	for _, test := range []struct {
		status int
		want   string
		args   []string
	}{
		{exitUsage, "expected", []string{"ingest"}},
		{exitUsage, "unexpected argument", []string{"frobnicate"}},
		{exitUsage, "invalid UUID", []string{"ingest", "--tenant", "me", dir}},
		{exitUsage, "unknown dataset", []string{"ingest", "--dataset", "faxes", dir}},
		{exitUsage, "--type", []string{"keys", "create", "--tenant", someTenant, "--type", "admin"}},
		{exitFailed, "nowhere does not exist", []string{"ingest", filepath.Join(dir, "nowhere")}},
		{exitDone, "2 files: 1 new, 0 changed, 0 unchanged, 1 refused; 1 files refused", []string{"ingest", dir}},
		{exitFailed, "2 files: 0 new, 0 changed, 1 unchanged, 1 refused; 1 files refused",
			[]string{"ingest", "--strict", dir}},
		{exitDone, "Usage: voicory", []string{"--help"}},
	} {
		got := wantStatus(t, run(t, "", append(test.args, "--data", data)...), test.status)
		if !strings.Contains(got.stdout+got.stderr, test.want) || strings.Count(got.stderr, "\n") > 1 {
			t.Errorf("%v: got %q and %q, want %q", test.args, got.stdout, got.stderr, test.want)
		}
	}
}

func TestFlags_FromEnvironment(t *testing.T) {
	data := t.TempDir()
	t.Setenv("VOICORY_DATA", data)
	mustRun(t, "", "keys", "create", "--tenant", someTenant, "--type", "secret")
	if _, err := os.Stat(filepath.Join(data, "control.duckdb")); err != nil {
		t.Error(err)
	}
}

func TestIngest_ReportsUnknownFields(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	serve(t, data)
	line := strings.Replace(callLine(1), `"created_at":"`, `"mood":"good","created_at":"`, 1)
	if got := mustRun(t, line, "ingest", "--data", data, "--dataset", "calls", "-"); !strings.Contains(got.stdout,
		"not stored: calls.mood\n") {
		t.Error(got.stdout)
	}
	if exposition := metrics(t, data); !strings.Contains(exposition,
		`voicory_unknown_field_info{dataset="calls",field="mood"} 1`) ||
		!strings.Contains(exposition, "voicory_quarantine_dropped_total 0") {
		t.Error(exposition)
	}
}

func TestDemo_SecondRunReplacesKeys(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	first := copyDemo(t, data)
	second := mustRun(t, "", "demo", "--data", data).stdout
	url, _ := serve(t, data)
	for key, want := range map[string]int{first.Public: 401, first.Secret: 401,
		regexp.MustCompile(`pk_\w+`).FindString(second): 200, regexp.MustCompile(`sk_\w+`).FindString(second): 200} {
		status, body := get(t, url+"/api/v1/messages", key)
		if status != want || want == 200 && !strings.Contains(body, `"total":10000`) {
			t.Errorf("%d %.200s", status, body)
		}
	}
}

// A server publishes rows that were merged but not published, as after a killed command.
func TestServe_PublishesUnpublishedRows(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: data, MemoryLimit: "400MB"})
	noError(t, err)
	_, err = ingest.Load(t.Context(), w, ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(callLine(1))})
	noError(t, errors.Join(err, w.Close()))
	serve(t, data)
	for look := time.NewTicker(10 * time.Millisecond); ; <-look.C {
		if found, _ := filepath.Glob(filepath.Join(data, "lake", "*", "calls", "month=2026-03", "calls.parquet")); len(
			found) == 1 {
			look.Stop()
			return
		}
	}
}

// An interrupt ends a command that is waiting for its input.
func TestIngest_InterruptWhileWaitingForInput(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "calls.ndjson")
	noError(t, syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, "-"} {
		stdin, write, err := os.Pipe()
		noError(t, err)
		command := exec.CommandContext(t.Context(), os.Args[0], "ingest", "--data", t.TempDir(), "--dataset", "calls", path)
		command.Env = append(os.Environ(), runAsProgram+"=yes")
		var stderr bytes.Buffer
		command.Stdin, command.Stderr = stdin, &stderr
		noError(t, command.Start())
		data := command.Args[3]
		for waiting := time.NewTicker(5 * time.Millisecond); ; <-waiting.C { // until the command has opened the folder
			if _, err := os.Stat(filepath.Join(data, "control.duckdb")); err == nil {
				waiting.Stop()
				break
			}
		}
		noError(t, command.Process.Signal(os.Interrupt))
		if err := command.Wait(); err == nil || command.ProcessState.ExitCode() != exitSignal+int(syscall.SIGINT) ||
			!strings.Contains(stderr.String(), "stopped") {
			t.Errorf("%s: %v: %s", path, err, stderr.String())
		}
		noError(t, errors.Join(stdin.Close(), write.Close()))
	}
}

// An ingest is killed at different points. When the same command is run again, it completes, and the published rows are
// the same as without a kill.
func TestIngest_ResumesAfterKill(t *testing.T) {
	t.Parallel()
	dump, data := t.TempDir(), t.TempDir()
	writeDump(t, dump, demo.Tenant{ID: demoTenant.ID, Calls: 2_000, Customers: 150, Messages: 350})
	if killed := killRepeatedly(t, 3, 600_000, data, "ingest", "--data", data, dump); killed < 2 {
		t.Errorf("got %d runs killed before their end, want at least 2", killed)
	}
	out := mustRun(t, "", "ingest", "--data", data, "--json", dump).stdout
	var summary ingestSummary
	noError(t, json.Unmarshal([]byte(out), &summary))
	if summary.Read != 2_500 || summary.Refused != 0 || summary.Changed != 0 {
		t.Errorf("summary is %s", out)
	}
	clean := t.TempDir()
	mustRun(t, "", "ingest", "--data", clean, dump)
	for _, dataset := range []string{"calls/*/calls", "customers/customers", "messages/*/messages"} {
		ours, theirs := lakeDigest(t, data, dataset), lakeDigest(t, clean, dataset)
		if ours != theirs {
			t.Errorf("%s: got %s after kills, want %s", dataset, ours, theirs)
		}
	}
}

// A file of more than one batch is read by a server that is killed after the first batch. When its end is read again,
// the rows of this batch are unchanged and the others are new.
func TestIngest_KilledBetweenBatches(t *testing.T) {
	t.Parallel()
	const again, more = 1_000, 100 // rows that are read again, and rows after the first batch
	data := t.TempDir()
	key := createKey(t, data, someTenant, "secret")
	url, kill := startServer(t, data)
	var file bytes.Buffer
	for n := range warehouse.RowGroup + more {
		file.WriteString(callLine(n))
	}
	beginning, rest := io.Pipe()
	ended := make(chan int)
	go func() {
		program := Main{Args: []string{"ingest", "--data", data, "--dataset", "calls", "-"}, Stdin: beginning,
			Stdout: io.Discard, Stderr: io.Discard}
		ended <- program.Run(t.Context())
	}()
	_, err := rest.Write(file.Bytes()[:file.Len()-1]) // the last line is not complete
	noError(t, err)
	until(t, "the rows of the first batch", func() bool {
		_, body := get(t, url+"/api/v1/calls?limit=1", key)
		return strings.Contains(body, fmt.Sprintf(`"total":%d,`, warehouse.RowGroup))
	})
	// DuckDB shows rows before their commit is durable. The store records the number of each durable commit. The first
	// one created the store.
	until(t, "their commit is durable", func() bool {
		commits, err := os.ReadFile(filepath.Join(data, "commits"))
		return err == nil && len(commits) >= 48 && binary.LittleEndian.Uint64(commits[40:]) > 1
	})
	kill()
	noError(t, rest.Close())
	if status := <-ended; status != exitFailed {
		t.Errorf("got exit status %d of the command, want %d", status, exitFailed)
	}
	var summary ingestSummary
	end := file.String()[len(callLine(0))*(warehouse.RowGroup-again):]
	noError(t, json.Unmarshal([]byte(mustRun(t, end, "ingest", "--data", data, "--dataset", "calls", "--json",
		"-").stdout), &summary))
	if summary.Unchanged != again || summary.New != more || summary.Read != summary.Unchanged+summary.New {
		t.Errorf("got %+v, want %d unchanged rows and %d new ones", summary, again, more)
	}
	if got := queryDuckDB(t, fmt.Sprintf(
		"SELECT count(*) || ' ' || count(DISTINCT id) FROM read_parquet('%s/lake/*/calls/*/*.parquet')",
		data)); got != fmt.Sprintf("%d %[1]d", warehouse.RowGroup+more) {
		t.Errorf("got %s rows and ids in the lake, want %d", got, warehouse.RowGroup+more)
	}
}

func folderSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil // files that were removed meanwhile are ignored
	})
	return size
}

// A command whose standard output fails exits with a failure.
func TestRun_FailsIfStdoutFails(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full:", err)
	}
	defer full.Close()
	data := t.TempDir()
	mustRun(t, "", "keys", "create", "--data", data, "--tenant", someTenant, "--type", "public")
	for _, args := range [][]string{{"keys", "list"}, {"tenants", "list"}, {"sources"}, {"requests"},
		{"keys", "list", "--json"}} {
		var stderr bytes.Buffer
		program := Main{Args: append(args, "--data", data), Stdin: strings.NewReader(""), Stdout: full, Stderr: &stderr}
		if status := program.Run(t.Context()); status != exitFailed || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%v: got status %d and %q, want %d", args, status, stderr.String(), exitFailed)
		}
	}
}
