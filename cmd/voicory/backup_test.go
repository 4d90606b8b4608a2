package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dropped returns the calls first to last of two tenants, and as many of the first tenant.
func dropped(first, last int) (both, one string) {
	var all, own strings.Builder
	for n := first; n <= last; n++ {
		for _, tenant := range []string{someTenant, otherTenant} {
			fmt.Fprintf(&all, `{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"}`+"\n",
				tenant, n)
		}
		fmt.Fprintf(&own, `{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"}`+"\n", n+100)
	}
	return all.String(), own.String()
}

const otherTenant = "bbbbbbbb-0000-4000-8000-000000000002"

// page is a page of a list or a feed.
type page struct {
	Data []struct {
		ID string `json:"id"`
	} `json:"data"`
	Meta struct {
		Total  int    `json:"total"`
		Seq    int64  `json:"seq"`
		Next   string `json:"next_cursor"`
		Resume string `json:"resume_cursor"`
	} `json:"meta"`
}

func getPage(t *testing.T, url, key string) (p page) {
	t.Helper()
	status, body := get(t, url, key)
	if status != 200 {
		t.Fatalf("%s: got status %d: %s", url, status, body)
	}
	noError(t, json.Unmarshal([]byte(body), &p))
	return p
}

// A backup of a running server is restored into it for one tenant, and into its folder for all. The sources read again
// what the restored tenants have lost. Cursors of the restored tenants end, and nothing of other tenants changes.
func TestRestore_WithSources(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, dest, config := filepath.Join(dir, "data"), filepath.Join(dir, "backups"), filepath.Join(dir, "config.yaml")
	both, one := filepath.Join(dir, "both"), filepath.Join(dir, "one")
	drop := func(name string, first, last int) {
		all, own := dropped(first, last)
		for folder, text := range map[string]string{both: all, one: own} {
			noError(t, os.MkdirAll(folder, 0o700))
			noError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600))
		}
	}
	drop("first.ndjson", 1, 5)
	noError(t, os.WriteFile(config, fmt.Appendf(nil, `
sources:
  both: {every: 1s, files: {path: %q, dataset: calls}}
  one: {every: 1s, files: {path: %q, dataset: calls, tenant: %s}}
`, both, one, someTenant), 0o600))
	flags := []string{"--config", config, "--rate-limit", "none", "--operator-listen", "127.0.0.1:0"}
	urls, stop := serveAll(t, data, flags...)
	url, operator := urls[0], urls[1]
	key, otherKey := createKey(t, data, someTenant, "public"), createKey(t, data, otherTenant, "public")
	wantRows := func(rows, otherRows int) {
		t.Helper()
		until(t, fmt.Sprintf("tenants have %d and %d calls", rows, otherRows), func() bool {
			return getPage(t, url+"/api/v1/calls?limit=1", key).Meta.Total == rows &&
				getPage(t, url+"/api/v1/calls?limit=1", otherKey).Meta.Total == otherRows
		})
	}
	wantRows(10, 5)
	mustRun(t, "", "backup", "--data", data, dest)
	drop("second.ndjson", 6, 8)
	wantRows(16, 8)

	type cursors struct{ list, feed, since string }
	cursorsOf := func(key string) cursors {
		t.Helper()
		feed := getPage(t, url+"/api/v1/calls?since=0&limit=100", key)
		return cursors{"cursor=" + getPage(t, url+"/api/v1/calls?limit=1", key).Meta.Next, "cursor=" + feed.Meta.Resume,
			fmt.Sprintf("since=%d", feed.Meta.Seq)}
	}
	wantCursors := func(key string, c cursors, want int) {
		t.Helper()
		for _, position := range []string{c.list, c.feed, c.since} {
			status, body := get(t, url+"/api/v1/calls?limit=100&"+position, key)
			if status != want || want == 400 && !strings.Contains(body, "INVALID_CURSOR") {
				t.Errorf("%s: got status %d, want %d: %s", position, status, want, body)
			}
		}
	}
	old, other := cursorsOf(key), cursorsOf(otherKey)
	var lake string
	until(t, "24 calls are published", func() bool {
		if lakes, err := filepath.Glob(filepath.Join(data, "lake/*/calls/*/*.parquet")); err != nil || len(lakes) < 2 {
			return false
		}
		if !isPublished(data) {
			return false
		}
		lake = lakeDigest(t, data, "calls/*/calls")
		return strings.HasPrefix(lake, "24 rows")
	})
	wantStatus(t, run(t, "", "restore", "--data", data, dest), exitFailed) // a server has the folder open
	mustRun(t, "", "restore", "--data", data, "--tenant", someTenant, dest)
	wantCursors(key, old, 400)
	wantRows(16, 8)
	wantCursors(otherKey, other, 200)
	if changed := getPage(t, url+"/api/v1/calls?limit=100&"+other.feed, otherKey).Data; len(changed) > 0 {
		t.Errorf("got %d changes of the other tenant, want none", len(changed))
	}
	until(t, "the lake is as before", func() bool {
		return isPublished(data) && lakeDigest(t, data, "calls/*/calls") == lake
	})
	if _, ready := get(t, operator+"/readyz", ""); !strings.Contains(ready,
		`"restores":[{"tenant_id":"`+someTenant) {
		t.Errorf("/readyz does not name the restore: %s", ready)
	}
	if got := mustRun(t, "", "tenants", "list", "--data", data).stdout; strings.Count(got, "restored at") != 1 {
		t.Errorf("got %q, want one restored tenant", got)
	}

	between := cursorsOf(key)
	stop()
	mustRun(t, "", "restore", "--data", data, dest)
	got := mustRun(t, "", "sources", "--data", data).stdout
	for _, tenant := range []string{someTenant, otherTenant} {
		if !strings.Contains(got, "tenant "+tenant+" was restored at ") {
			t.Errorf("sources: got %q, want the restore of tenant %s", got, tenant)
		}
	}
	url, _ = serve(t, data, flags...)
	wantCursors(key, old, 400)
	wantCursors(key, between, 400)
	wantCursors(otherKey, other, 400)
	wantRows(16, 8)
	until(t, "the lake is as before", func() bool {
		return isPublished(data) && lakeDigest(t, data, "calls/*/calls") == lake
	})
}

// isPublished reports whether every commit is published, so that no file is replaced while it is read.
func isPublished(data string) bool {
	marks, err := filepath.Glob(filepath.Join(data, "warehouse", "*.unpublished"))
	return err == nil && len(marks) == 0
}
