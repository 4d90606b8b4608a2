package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A reader holds what clients of one tenant remember of a server.
type reader struct {
	cursors map[string]string // by kind
	table   loadedTable       // of calls, by the catalog, as an engine holds it open
	version int64             // of the shared table
	objects map[string]string // content of the objects of the table, by URL
	signed  map[string]string // content of files, by signed URL
	lists   map[string]string // ETag of lists, by path
}

// remember reads by every road as clients of tenant mine do.
func (l *lake) remember(t *testing.T) reader {
	t.Helper()
	r := reader{objects: map[string]string{}, signed: map[string]string{}, lists: map[string]string{}}
	page, _ := l.listed(t, "/api/v1/calls?limit=7", l.secret)
	feed, _ := l.listed(t, "/api/v1/calls?since=0&limit=7", l.secret)
	end, _ := l.listed(t, "/api/v1/calls?since=0&limit=100", l.secret)
	r.cursors = map[string]string{"list": *page.Meta.NextCursor, "feed": *feed.Meta.NextCursor,
		"resume": end.Meta.ResumeCursor}
	table := l.load(t, l.secret, "calls")
	r.table = table
	objects := []string{table.MetadataLocation, table.list()}
	for _, f := range l.files(t, l.secret, "calls", "") {
		objects = append(objects, table.Metadata.Location+"/data/"+f.Name)
	}
	for _, url := range objects {
		got := l.object(t, "GET", url, table.credentials())
		if got.status != 200 {
			t.Fatalf("%s: got %+v", url, got)
		}
		r.objects[url] = got.body
	}
	shared := l.query(t, "calls", "{}")
	r.version = shared.version
	for _, f := range shared.files {
		r.signed[f.URL] = l.download(t, "GET", f.URL).body
	}
	for _, path := range []string{"/api/v1/calls?limit=7", "/api/v1/exports/calls/files", "/api/v1/exports"} {
		r.lists[path] = l.ask(t, "GET", path, l.secret).header.Get("ETag")
	}
	return r
}

// pushLine pushes a call with an idempotency key.
func (l *lake) pushLine(t *testing.T, n int, key string) answer {
	t.Helper()
	line := fmt.Sprintf(`{"id":%q,"status":"completed","created_at":"2026-02-%02dT10:00:00Z"}`, id(n), 1+n%28)
	request := l.request(t, http.MethodPost, "/api/v1/ingest/calls", line)
	request.Header.Set("X-Api-Key", l.secret)
	request.Header.Set("Content-Type", "application/x-ndjson")
	request.Header.Set("Idempotency-Key", key)
	got := l.send(t, request)
	if got.status != 200 {
		t.Fatalf("push: got %+v", got)
	}
	return got
}

// serveRestored serves the folder that a backup of all tenants is restored to.
func (l *lake) serveRestored(t *testing.T, source string, options httpapi.Options) *lake {
	t.Helper()
	w, _, err := warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: filepath.Join(t.TempDir(), "data")},
		warehouse.RestoreOptions{Source: source})
	noError(t, err)
	t.Cleanup(func() { noError(t, w.Close()) })
	options.Store, options.CursorKey = w, l.warehouse.SigningKey("cursor")
	options.Ingest = mergeLines(t, func() *warehouse.Warehouse { return w })
	a := &api{warehouse: w, Server: httptest.NewServer(httpapi.New(options)), key: l.key, other: l.other}
	t.Cleanup(a.Close)
	return &lake{bulk: &bulk{api: a, secret: l.secret, another: l.another}}
}

// mergeLines returns a function that merges the lines of a push.
func mergeLines(
	t *testing.T, w func() *warehouse.Warehouse,
) func(context.Context, httpapi.Push) (httpapi.Pushed, error) {
	return func(ctx context.Context, push httpapi.Push) (pushed httpapi.Pushed, err error) {
		body, err := io.ReadAll(push.Body)
		if err == nil {
			pushed.Counts, pushed.Refusals, err = w().Merge(ctx, warehouse.Batch{Dataset: push.Dataset, Tenant: push.Tenant,
				Origin: "push", Rows: lines(t, string(body))})
		}
		return pushed, err
	}
}

// wantSuccessor requires that an engine that holds a table open can load after in place of before: it is the same
// table, no number or time of it goes back, and it names no snapshot that was listed before.
func wantSuccessor(t *testing.T, name string, before, after loadedTable) {
	t.Helper()
	b, a := before.Metadata, after.Metadata
	if a.UUID != b.UUID || a.Location != b.Location || after.MetadataLocation == before.MetadataLocation ||
		a.CurrentSnapshot <= b.CurrentSnapshot || a.LastSequence <= b.LastSequence || a.LastUpdated < b.LastUpdated {
		t.Errorf("%s: got the table %+v, want a later state than %+v", name, after, before)
	}
	last := b.LastUpdated
	for _, s := range a.Snapshots {
		if s.ID <= b.CurrentSnapshot || s.Parent != 0 && s.Parent <= b.CurrentSnapshot || s.Timestamp < last {
			t.Errorf("%s: got snapshot %+v, want none of before %d at %d", name, s, b.CurrentSnapshot, last)
		}
		last = s.Timestamp
	}
}

// After a restore, no client takes the restored rows for those that it knows: cursors end, tables have a later version
// under another name, no name has other content, and a push that was lost is applied again. Clients of tenants that
// were not restored see no difference.
func TestRestore_ClientsOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"one tenant of a running server", "all tenants"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			var l *lake
			var options httpapi.Options
			l = startLake(t, func(o *httpapi.Options) {
				o.MaxBody, o.Log = 1<<20, slog.New(slog.DiscardHandler)
				o.Ingest = mergeLines(t, func() *warehouse.Warehouse { return l.warehouse })
				options = *o
			})
			publish := func(w *warehouse.Warehouse) {
				t.Helper()
				_, err := w.Publish(t.Context())
				noError(t, err)
			}
			kept := l.pushLine(t, 301, "push-before")
			publish(l.warehouse)
			first := l.remember(t)
			// A source has brought the rows of both tenants until the backup, and then more.
			read := func(through int) {
				for _, tenant := range []uuid.UUID{mine, theirs} {
					noError(t, l.warehouse.SaveState(t.Context(), tenant, warehouse.State{Source: "crm",
						Value: fmt.Appendf(nil, `{"through":%d}`, through)}))
				}
			}
			read(1)
			source := filepath.Join(t.TempDir(), "backups")
			_, err := l.warehouse.Backup(t.Context(), warehouse.BackupOptions{Dest: source})
			noError(t, err)
			l.pushLine(t, 302, "push-after")
			merge(t, l.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-01-02"}`, theirs, id(901)))
			publish(l.warehouse)
			read(2)
			second := l.remember(t)
			theirs1, _ := l.listed(t, "/api/v1/calls?since=0&limit=100", l.other)
			file := l.files(t, l.another, "calls", "")[0].Name

			one := scope != "all tenants"
			if one {
				_, err = l.warehouse.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: source, Tenant: mine})
				noError(t, err)
			} else {
				l = l.serveRestored(t, source, options)
			}
			publish(l.warehouse)
			check := func(name string, known reader) {
				t.Helper()
				for kind, cursor := range known.cursors {
					got := l.do(t, "GET", "/api/v1/calls?limit=100&cursor="+cursor, l.secret)
					if got.status != 400 || code(got.body) != "INVALID_CURSOR" {
						t.Errorf("%s: cursor of a %s: got %d %.200s, want 400 INVALID_CURSOR", name, kind, got.status, got.body)
					}
				}
				table := l.load(t, l.secret, "calls")
				wantSuccessor(t, name, known.table, table)
				for _, as := range []aws.Credentials{known.table.credentials(), table.credentials()} {
					for url, content := range known.objects {
						got := l.object(t, "GET", url, as)
						if got.status != 404 && (got.status != 200 || got.body != content) {
							t.Errorf("%s: object %s: got %d with other content", name, url, got.status)
						}
					}
				}
				if version := l.query(t, "calls", "{}").version; version <= known.version {
					t.Errorf("%s: shared table: got version %d, want a later one than %d", name, version, known.version)
				}
				for url, content := range known.signed {
					_, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
					if got := l.download(t, "GET", l.URL+"/"+path); got.status == 200 && got.body != content {
						t.Errorf("%s: signed URL: got other content", name)
					}
				}
				for path, tag := range known.lists {
					got, fresh := l.ask(t, "GET", path, l.secret, "If-None-Match", tag), l.ask(t, "GET", path, l.secret)
					if tag != "" && (got.status == 304) != (fresh.header.Get("ETag") == tag) {
						t.Errorf("%s: %s: got %d, and the ETag %s for %s", name, path, got.status, fresh.header.Get("ETag"), tag)
					}
				}
			}
			for tenant, want := range map[uuid.UUID]int{mine: 1, theirs: map[bool]int{true: 2, false: 1}[one]} {
				state, err := l.warehouse.SourceState(t.Context(), tenant, "crm")
				if want := fmt.Sprintf(`{"through":%d}`, want); err != nil || string(state) != want {
					t.Errorf("source of tenant %s: got %s, %v, want the state %s", tenant, state, err, want)
				}
			}
			check("client of before the backup", first)
			check("client of after the backup", second)
			got := l.pushLine(t, 301, "push-before")
			if got.header.Get("Idempotency-Replayed") != "true" || got.body != kept.body {
				t.Errorf("repeated push of before the backup: got %+v, want the answer %s again", got, kept.body)
			}
			if got := l.pushLine(t, 302, "push-after"); got.header.Get("Idempotency-Replayed") != "" {
				t.Errorf("repeated push of after the backup: got %+v, want it applied", got)
			}
			page, _ := l.listed(t, "/api/v1/calls?since=0&limit=100", l.secret)
			found := map[string]bool{}
			for _, item := range page.Data {
				found[item.ID] = true
			}
			if len(page.Data) != 62 || !found[id(301)] || !found[id(302)] {
				t.Errorf("got %d calls, want 60 and both pushed ones", len(page.Data))
			}
			publish(l.warehouse)
			l.remember(t) // every road works
			got = l.do(t, "GET", "/api/v1/calls?limit=100&cursor="+theirs1.Meta.ResumeCursor, l.other)
			if want := map[bool]int{true: 200, false: 400}[one]; got.status != want {
				t.Errorf("cursor of the other tenant: got %d, want %d", got.status, want)
			}
			if after := l.files(t, l.another, "calls", "")[0].Name; (after == file) != one {
				t.Errorf("file of the other tenant: got %s, and before %s", after, file)
			}
		})
	}
}
