package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/ingest/schedule"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// until waits until condition returns true. It fails the test after 5 minutes.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !condition(); <-look.C {
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting until " + what)
		}
	}
}

func sourcesOf(t *testing.T, data string) map[string]schedule.Status {
	t.Helper()
	var list []schedule.Status
	noError(t, json.Unmarshal([]byte(mustRun(t, "", "sources", "--data", data, "--json").stdout), &list))
	byName := map[string]schedule.Status{}
	for _, s := range list {
		byName[s.Name] = s
	}
	return byName
}

// The server pulls from the sources of its config on schedule. `voicory sources`, /readyz and the metrics show their
// state.
func TestServe_PullsConfiguredSources(t *testing.T) {
	tenant := demo.Tenant{ID: demoTenant.ID, Calls: 250, Customers: 30, Messages: 120, Days: 45}
	theirs, theirKey, there := upstream(t, tenant, "--rate-limit", "none")
	dir := t.TempDir()
	keyFile, configFile := filepath.Join(dir, "key"), filepath.Join(dir, "config.yaml")
	noError(t, os.WriteFile(keyFile, []byte(theirKey+"\n"), 0o600))
	t.Setenv("WRONG_DSN", "postgres://reader:hush@127.0.0.1:1/platform?connect_timeout=1")
	noError(t, os.WriteFile(configFile, fmt.Appendf(nil, `
sources:
  acme:
    every: 1s
    voicory: {base_url: %q, api_key: {file: %q}, tenant: %s}
  platform:
    every: 1s
    postgres: {dsn: {env: WRONG_DSN}}
`, theirs+"/api/v1", keyFile, tenant.ID), 0o600))
	here := t.TempDir()
	urls, stop := serveAll(t, here, "--config", configFile, "--rate-limit", "none", "--operator-listen", "127.0.0.1:0")
	ours, operator := urls[0], urls[1]
	until(t, "both have run", func() bool {
		list := sourcesOf(t, here)
		return list["acme"].AsOf != nil && list["platform"].Failures > 1
	})
	ourKey := createKey(t, here, tenant.ID.String(), "public")
	sameRows(t, ours, ourKey, theirs, theirKey)

	line := fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":%q}`, tenant.ID, "00000000-0000-4000-8000-000000000001",
		time.Now().UTC().Format(time.RFC3339Nano))
	mustRun(t, line, "ingest", "--data", there, "--dataset", "calls", "-")
	until(t, "the new row is here", func() bool {
		status, _ := get(t, ours+"/api/v1/calls/00000000-0000-4000-8000-000000000001", ourKey)
		return status == 200
	})
	status, ready := get(t, ours+"/readyz", "")
	if status != 200 || ready != `{"status":"degraded","checks":{"source acme":"ok","source platform":"away","warehouse":"ok"},"conditions":{}}` {
		t.Error(status, ready)
	}
	if _, ready := get(t, operator+"/readyz", ""); !strings.Contains(ready,
		`"errors":{"source platform":"`) || strings.Contains(ready, "hush") {
		t.Error(ready)
	}
	exposition := metrics(t, here)
	for _, want := range []string{`voicory_source_rows_total{outcome="new",source="acme"} 401`,
		`voicory_source_failures_total{source="acme"} 0`,
		`voicory_source_rows_total{outcome="new",source="platform"} 0`, `voicory_source_lag_seconds{source="platform"} `} {
		if !strings.Contains(exposition, want) {
			t.Errorf("missing %s in the metrics: %s", want, regexp.MustCompile(`(?m)^voicory_source.*`).FindAllString(exposition,
				-1))
		}
	}
	wanted := []string{"voicory " + theirs + "/api/v1 " + tenant.ID.String(), "postgres reader@127.0.0.1:1/platform"}
	for _, served := range []bool{true, false} {
		got := mustRun(t, "", "sources", "--data", here)
		if served && !strings.Contains(got.stdout, "connect") { // the stop of the server may interrupt the last run
			t.Errorf("no failed connection in %s", got.stdout)
		}
		for _, want := range wanted {
			if !strings.Contains(got.stdout, want) {
				t.Errorf("%q is not in %s", want, got.stdout)
			}
		}
		if strings.Contains(got.stdout, "hush") || strings.Contains(got.stdout, theirKey) {
			t.Error(got.stdout)
		}
		stop()
	}
}

// A second run of a source is refused while the first is running.
func TestSources_OneRunPerSource(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan bool, 100), make(chan bool)
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- true
		<-answer
		fmt.Fprint(w, `{"data":[],"meta":{"page":1,"limit":100,"total":0,"total_pages":0,"has_more":false}}`)
	}))
	defer slow.Close()
	here := t.TempDir()
	serve(t, here)
	sync := func() result {
		return run(t, "", "sync", "voicory", "--data", here, "--base-url", slow.URL+"/api/v1", "--api-key",
			"sk_0123456789abcdefghijklmnopqrstuv", "--tenant", demoTenant.ID.String())
	}
	first := make(chan result, 1)
	go func() { first <- sync() }()
	<-asked
	if state := sourcesOf(t, here)[""].State; state != schedule.Running {
		t.Error(state)
	}
	if got := wantStatus(t, sync(), exitFailed); !strings.Contains(got.stderr, "is being pulled since") {
		t.Error(got.stderr)
	}
	close(answer)
	wantStatus(t, <-first, exitDone)
	if state := sourcesOf(t, here)[""].State; state != schedule.Done {
		t.Error(state)
	}
}

// A pull from the API shows its log, with and without a running server.
func TestSync_VoicoryShowsItsLog(t *testing.T) {
	t.Parallel()
	requests := 0
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests++; requests%4 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"data":[],"meta":{"page":1,"limit":100,"total":0,"total_pages":0,"has_more":false}}`)
	}))
	defer upstream.Close()
	here := t.TempDir()
	_, stop := serve(t, here)
	for range 2 {
		got := mustRun(t, "", "sync", "voicory", "--data", here, "--base-url", upstream.URL+"/api/v1", "--api-key",
			"sk_0123456789abcdefghijklmnopqrstuv", "--tenant", demoTenant.ID.String())
		if !strings.Contains(got.stderr, `voicory: level=WARN msg="retry a request to the Voicory API"`) {
			t.Errorf("got %q, want a note on the retry", got.stderr)
		}
		stop()
	}
}

// The state of a source follows from its last run.
func TestSources_StateFollowsFromTheLastRun(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: data, MemoryLimit: "400MB"})
	noError(t, err)
	ended := time.Now().UTC()
	for _, run := range []control.SourceRun{{Source: "a", StartedAt: ended},
		{Source: "b", StartedAt: ended, EndedAt: &ended, Error: "stopped"},
		{Source: "c", StartedAt: ended, EndedAt: &ended, Error: "broken", Failures: 2},
		{Source: "d'", StartedAt: ended, EndedAt: &ended, AsOf: &ended}} {
		noError(t, w.SaveRun(t.Context(), run))
		noError(t, w.SaveRun(t.Context(), run)) // replaces the first
	}
	noError(t, w.Close())
	states := regexp.MustCompile(`(?m)^-  +(\w+)`).FindAllString(mustRun(t, "", "sources", "--data", data).stdout, -1)
	if got := strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(states, " "), "-", "")),
		" "); got != "interrupted stopped failing ok" {
		t.Error(got)
	}
}

// An invalid config is reported in one line with the key, and without secrets.
func TestConfig_ErrorsAreOneLine(t *testing.T) {
	t.Setenv("KEY", "sk_0123456789abcdefghijklmnopqrstuv")
	const good = "base_url: 'http://127.0.0.1:1/api/v1', api_key: {env: KEY}, tenant: d3a0c0de-0000-4000-8000-000000000001"
	for text, want := range map[string]string{
		"sources: {a: {every: soon, postgres: {dsn: {env: X}}}}": "sources.a.every: " +
			"time: invalid duration",
		"sources: {a: {every: 30, postgres: {dsn: {env: X}}}}": "sources.a.every: " +
			"want a duration of at least 1s",
		"sources: {a: {every: 30s, postgres: {dsn: 'postgres://u:hush@h/d'}}}": "sources.a.postgres.dsn: want {env: " +
			"VARIABLE} or {file: PATH}",
		"sources: {a: {every: 30s, postgres: {dsn: {env: X, file: hush}}}}": "sources.a.postgres.dsn: ",
		"sources: {a: {every: 30s, postgres: {dsn: {env: NOT_THERE}}}}": "sources.a.postgres.dsn: invalid: NOT_THERE " +
			"is empty or not set",
		"sources: {a: {every: 30s, postgres: {dsn: {file: /not/there}}}}": "sources.a.postgres.dsn: ",
		"sources: {a: {every: 30s, postgres: {dsn: {env: KEY}}}}":         "sources.a.postgres: ",
		"sources: {a: {evry: 30s, postgres: {dsn: {env: X}}}}": "sources.a: has " +
			"invalid keys: evry",
		"sources: {a: {every: 30s, voicory: {tenant: nobody}}}": "sources.a.voicory.tenant: ",
		"sources: {a: {every: 30s, voicory: {" + good +
			", details: maybe}}}": "sources.a.voicory.details: ",
		"sources: {a: {every: 30s, voicory: {" + good + ", window: -1h}}}": "sources.a.voicory: ",
		"sources: {a: {every: 30s}}": "sources.a: want " +
			"exactly one of",
		"sources: {a: {every: 9s, voicory: {" + good + "}}, b: {every: 9s, voicory: {" + good +
			"}}}": "sources.a and sources.b are the same source",
		"sorces: {}":   "sorces",
		"sources: [1]": "sources: ",
		"a: b: c":      "yaml: ",
	} {
		path := filepath.Join(t.TempDir(), "config.yaml")
		noError(t, os.WriteFile(path, []byte(text), 0o600))
		got := wantStatus(t, run(t, "", "serve", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0",
			"--config", path), exitUsage)
		lines := slices.DeleteFunc(strings.Split(got.stderr, "\n"),
			func(line string) bool { return line == "" || strings.Contains(line, "level=INFO") })
		if len(lines) != 1 || !strings.Contains(lines[0], want) || !strings.Contains(lines[0], path) ||
			strings.Contains(lines[0], "hush") || strings.Contains(lines[0], "sk_") {
			t.Errorf("%s: got %q, want %q", text, lines, want)
		}
	}
	wantStatus(t, run(t, "", "serve", "--data", t.TempDir(), "--config", "/not/there"), exitUsage)
}

// Refused rows can be listed, fixed and ingested again, with and without a running server.
func TestQuarantine_ListAndReplay(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	_, stop := serve(t, data)
	key := createKey(t, data, someTenant, "public")
	mustRun(t, strings.Replace(callLine(1), `"created_at":"`, `"cost":"cheap","created_at":"`, 1), "ingest", "--data",
		data, "--dataset", "calls", "-")
	var refusals []warehouse.Refusal
	for range 2 { // with the server, then without it
		got := mustRun(t, "", "quarantine", "list", "--data", data)
		if !strings.Contains(got.stdout, "cost is not a decimal(10,4): cheap") || strings.Count(got.stdout, "\n") != 2 {
			t.Error(got.stdout)
		}
		noError(t, json.Unmarshal([]byte(run(t, "", "quarantine", "list", "--data", data, "--json").stdout), &refusals))
		if len(refusals) != 1 || !strings.Contains(refusals[0].Row, someTenant) {
			t.Fatalf("%+v", refusals)
		}
		if got := mustRun(t, "", "quarantine", "replay", "--data", data); !strings.Contains(got.stdout,
			"read 1 rows: 0 new, 0 changed, 0 unchanged, 0 deleted, 1 refused again") {
			t.Error(got.stdout)
		}
		stop()
	}
	got := mustRun(t, "", "quarantine", "list", "--data", data, "--limit", "0")
	if !strings.Contains(got.stdout, "raise --limit") {
		t.Error(got.stdout)
	}
	path := filepath.Join(data, "quarantine", refusals[0].Name)
	mend := exec.CommandContext(t.Context(), "sed", "-i", "s/cheap/0.25/g", path)
	noError(t, mend.Run())
	url, _ := serve(t, data)
	wantStatus(t, run(t, "", "quarantine", "replay", "--data", data, "nothing.ndjson"), exitFailed)
	if got := mustRun(t, "", "quarantine", "replay", "--data", data, refusals[0].Name); !strings.Contains(got.stdout,
		"read 1 rows: 1 new") {
		t.Error(got.stdout)
	}
	if status, body := get(t, url+"/api/v1/calls", key); status != 200 || !strings.Contains(body, `"cost":0.25`) {
		t.Error(status, body)
	}
	if got := mustRun(t, "", "quarantine", "list", "--data", data, "--json"); strings.TrimSpace(got.stdout) != "[]" {
		t.Error(got.stdout)
	}
}

// A refused file is read again at its path, with and without a running server, and leaves the quarantine when it can be
// read. Entries of files that are gone stay.
func TestQuarantine_ReplaysFiles(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	gone, damaged := filepath.Join(dir, "gone.calls.parquet"), filepath.Join(dir, "damaged.calls.csv")
	noError(t, os.WriteFile(gone, []byte("PAR1"), 0o600))
	noError(t, os.WriteFile(damaged, []byte("name\n1\n"), 0o600))
	_, stop := serve(t, data)
	mustRun(t, "", "ingest", "--data", data, "--tenant", someTenant, dir)
	noError(t, os.Remove(gone))
	for i, test := range []struct{ content, want string }{
		{"name\n1\n", "read 0 rows"}, // refused again, by the server
		{"name\n1\n", "read 0 rows"}, // and without a server
		{"id,created_at\n" + someTenant + ",2026-01-01\n", "read 1 rows: 1 new"},
	} {
		noError(t, os.WriteFile(damaged, []byte(test.content), 0o600))
		got := mustRun(t, "", "quarantine", "replay", "--data", data)
		if !strings.Contains(got.stdout, test.want) || !strings.Contains(got.stderr, gone+" stays in the quarantine: ") {
			t.Errorf("replay %d: got %q and %q, want %q and a note", i, got.stdout, got.stderr, test.want)
		}
		stop()
		var refusals []warehouse.Refusal
		noError(t, json.Unmarshal([]byte(run(t, "", "quarantine", "list", "--data", data, "--json").stdout), &refusals))
		if want := 2 - i/2; len(refusals) != want {
			t.Errorf("replay %d: got quarantine %+v, want %d entries", i, refusals, want)
		}
	}
	if got := mustRun(t, "", "query", "--data", data, "--tenant", someTenant,
		"SELECT count(*) FROM calls"); !strings.Contains(got.stdout, "1") {
		t.Error(got.stdout)
	}
}

// heapRecorder is an output that counts lines and records the peak size of the live heap.
type heapRecorder struct {
	lines int
	peak  uint64 // bytes
}

func (c *heapRecorder) Write(p []byte) (int, error) {
	before := c.lines
	if c.lines += bytes.Count(p, []byte("\n")); c.lines/1000 > before/1000 {
		c.peak = max(c.peak, liveHeap())
	}
	return len(p), nil
}

// liveHeap returns the size of the reachable heap, in bytes.
func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Listing a quarantine uses bounded memory whatever its size, with and without a running server.
func TestQuarantine_ListIsStreamed(t *testing.T) {
	const rows, rowBytes, maxHeap = 2500, 4000, 5 << 20 // bytes; all rows take 10 MB in each form
	data := t.TempDir()
	_, stop := serve(t, data)
	mustRun(t, "nonsense\n", "ingest", "--data", data, "--dataset", "calls", "-")
	var text strings.Builder
	for n := range rows {
		fmt.Fprintf(&text, `{"file":"f","line":%d,"dataset":"calls","reason":"r%d%s","row":"%s"}`+"\n", n, n,
			strings.Repeat("x", rowBytes/2), strings.Repeat("y", rowBytes/2))
	}
	noError(t, os.WriteFile(filepath.Join(data, "quarantine", "many.ndjson"), []byte(text.String()), 0o600))
	text.Reset()
	// Each place and each form is tried once: the form is printed from what either place sends.
	for _, test := range [][2]string{{"server", "--json=true"}, {"folder", "--json=false"}} {
		place, form := test[0], test[1]
		before := liveHeap()
		out := &heapRecorder{}
		var stderr bytes.Buffer
		program := Main{Args: []string{"quarantine", "list", form, "--data", data, "--limit", strconv.Itoa(math.MaxInt64)},
			Stdout: out, Stderr: &stderr}
		if status := program.Run(t.Context()); status != exitDone || out.lines < rows+2 {
			t.Errorf("%s %s: got status %d and %d lines, want more than %d: %s", place, form, status, out.lines, rows,
				stderr.String())
		}
		if out.peak == 0 || out.peak > before+maxHeap {
			t.Errorf("%s %s: the heap grew from %d to %d bytes, want at most %d more", place, form, before, out.peak, maxHeap)
		}
		stop()
	}
	// A damaged line is listed like the others.
	noError(t, os.WriteFile(filepath.Join(data, "quarantine", "zz.ndjson"), []byte("{\"line\":\"x\"}\n{}\n"), 0o600))
	if got := mustRun(t, "", "quarantine", "list", "--data", data, "--limit", strconv.Itoa(2*rows)); !strings.Contains(
		got.stdout, "line 1 of this quarantine file is damaged") {
		t.Errorf("got %q, want the damaged line in it", got.stdout[max(0, len(got.stdout)-500):])
	}
}
