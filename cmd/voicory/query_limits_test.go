package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/control"
)

// postSQL runs a statement with a key. It returns the number of rows of its result and the X-Truncated header.
func postSQL(t *testing.T, url, key, statement string) (rows int, truncated string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"sql": statement, "format": "ndjson"})
	noError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/api/v1/query", bytes.NewReader(body))
	noError(t, err)
	request.Header.Set("X-Api-Key", key)
	request.Header.Set("Content-Type", "application/json")
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.DefaultClient.Do(request)
	noError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	noError(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, string(answer))
	}
	return bytes.Count(answer, []byte("\n")), response.Header.Get("X-Truncated")
}

// The query limits of a key can be set, listed, changed one by one and removed, with and without a running server.
func TestKeys_QueryLimits(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	keys := func(status int, args ...string) result {
		t.Helper()
		return wantStatus(t, run(t, "", append([]string{"keys", args[0], "--data", data}, args[1:]...)...), status)
	}
	create := func(limits ...string) string {
		t.Helper()
		return strings.TrimSpace(keys(exitDone, append([]string{"create", "--tenant", someTenant, "--type", "secret"},
			limits...)...).stdout)
	}
	listed := func(n int) control.Key {
		t.Helper()
		var list []control.Key
		noError(t, json.Unmarshal([]byte(keys(exitDone, "list", "--json").stdout), &list))
		return list[n]
	}
	shown := func(column string) {
		t.Helper()
		lines := strings.Split(keys(exitDone, "list").stdout, "\n")
		begin, end := strings.Index(lines[0], "SQL"), strings.Index(lines[0], "ORIGINS")
		if got := strings.TrimSpace(string([]rune(lines[1])[begin:end])); got != column {
			t.Errorf("got %q in the list, want %q", got, column)
		}
	}
	key := create("--query-rows", "1000", "--query-bytes", "10MB", "--query-time", "5s")
	if k := listed(0); k.QueryRows != 1000 || k.QueryBytes != 10_000_000 || k.QueryTime != 5000 {
		t.Errorf("%+v", k)
	}
	shown("1000 rows, 10MB, 5s")
	id := listed(0).ID.String()
	url, stop := serve(t, data)
	free := create()
	asked := func(key string, want int, cut string) {
		t.Helper()
		if rows, truncated := postSQL(t, url, key, "FROM range(2000)"); rows != want || truncated != cut {
			t.Errorf("got %d rows, truncated %s, want %d, %s", rows, truncated, want, cut)
		}
	}
	asked(key, 1000, "rows")
	asked(free, 2000, "no")
	keys(exitDone, "update", id, "--query-rows", "7")
	asked(key, 7, "rows")
	for _, served := range []bool{true, false} {
		keys(exitDone, "update", id, "--query-rows", "7", "--query-bytes", "1500", "--query-time", "5s")
		shown("7 rows, 1500B, 5s")
		if !served { // the remaining cases differ in their flags, and not in where they are stored
			return
		}
		keys(exitDone, "update", id, "--query-rows", "0", "--query-time", "90s", "--label", "limited")
		shown("1500B, 1m30s")
		keys(exitDone, "update", id, "--query-bytes", "0", "--query-time", "0")
		shown("")
		keys(exitDone, "update", id, "--query-rows", "10000000", "--query-bytes", "2GiB", "--query-time", "10m")
		shown("10000000 rows, 2GiB, 10m0s")
		for _, wrong := range []string{"--query-rows=-1", "--query-rows=10000001", "--query-rows=many", "--query-bytes=-1MB",
			"--query-bytes=3GiB", "--query-bytes=many",
			"--query-time=-1s", "--query-time=11m", "--query-time=5", "--query-time=10us"} {
			flag, _, _ := strings.Cut(wrong, "=")
			if said := keys(exitUsage, "update", id, wrong).stderr; !strings.HasPrefix(said, "voicory: "+flag+": ") ||
				strings.Count(said, "\n") != 1 {
				t.Errorf("%s: %s", wrong, said)
			}
		}
		keys(exitUsage, "create", "--tenant", someTenant, "--type", "public", "--query-rows", "5")
		shown("10000000 rows, 2GiB, 10m0s")
		if k := listed(0); k.Label != "limited" || k.QueryTime != 600_000 {
			t.Errorf("%+v", k)
		}
		stop()
	}
}

func TestByteSize_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1B", "1500B", "10MB", "1MiB", "2GiB", "3TB", "1023KiB", "1001KB"} {
		var size byteSize
		noError(t, size.UnmarshalText([]byte(text)))
		if size.String() != text {
			t.Errorf("got %s, want %s", size, text)
		}
	}
}
