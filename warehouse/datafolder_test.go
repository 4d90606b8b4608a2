package warehouse_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Files that DuckDB creates by itself, such as those that it spills, are private whatever the umask of the process
// was.
func TestOpen_SpillFilesArePrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "50MB"})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	snapshot, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	defer func() { noError(t, snapshot.Close()) }()
	_, err = snapshot.Conn.ExecContext(t.Context(),
		"CREATE TEMP TABLE spilled AS SELECT i, md5(i::VARCHAR) AS text FROM range(4_000_000) AS r(i)")
	noError(t, err)
	spilled := 0
	noError(t, filepath.WalkDir(w.TempDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		noError(t, err)
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s: got %o, want 600", path, got)
		}
		spilled++
		return nil
	}))
	if spilled == 0 {
		t.Error("nothing was spilled")
	}
}

// A symbolic link that appears in an open data folder is not followed to write or to delete either.
func TestOpen_SymlinksThatAppearLaterAreNotFollowed(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	defer func() { _ = w.Close() }() // fails if the test has replaced a file of the folder
	month := func(n int) row { return row{"created_at": fmt.Sprintf("2026-%02d-01T00:00:00Z", n)} }
	merge(t, w, schema.Calls, call(tenantA, 1, month(1)))
	merge(t, w, schema.Calls, call(tenantB, 1, month(1)))
	publish(t, w)
	work := func(n int, name string) {
		refused := call(tenantA, n, row{"created_at": "never"})
		refused["id"] = fmt.Sprint("none ", n)
		_, _, _ = w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x",
			Rows: lines(t, call(tenantA, n, month(1)), call(tenantA, 100+n, month(2)), refused)})
		_, _ = w.Publish(t.Context())
		if name == "tmp" || name == "quarantine" { // the following work writes no other files than the work above
			_, _, _ = w.Replay(t.Context(), nil)
			admit := func() (func(), error) { return func() {}, nil }
			if _, content, err := w.OpenDatabase(t.Context(), tenantA, "", admit); err == nil {
				noError(t, content.Close())
			}
		}
		_ = w.RefuseFile(warehouse.Refusal{File: "x", Reason: fmt.Sprint(n)})
	}
	lake := "lake/tenant_id=" + tenantA.String()
	n := 1
	for _, name := range []string{
		"tmp", "quarantine", "lake", lake, lake + "/calls", lake + "/calls/month=2026-01", lake + "/calls/month=2026-02",
		lake + "/calls/month=2026-01/calls.parquet", lake + "/calls/month=2026-01/.calls.parquet.unfinished",
		"published", "published/" + tenantA.String(), "published/replaced", "published/replaced/" + tenantA.String(),
		"warehouse", "warehouse/" + tenantA.String() + ".unpublished",
	} {
		for _, target := range []string{t.TempDir(), filepath.Join(dir, "lake/tenant_id="+tenantB.String(), "calls")} {
			path := filepath.Join(dir, name)
			aside := filepath.Join(t.TempDir(), "aside")
			moved := os.Rename(path, aside) == nil
			if strings.HasPrefix(target, path+"/") {
				target = filepath.Join(aside, strings.TrimPrefix(target, path+"/")) // it went with it
			}
			if strings.Contains(filepath.Base(name), ".") {
				target = filepath.Join(target, "file")
				_ = os.WriteFile(target, []byte("canary"), 0o600)
			} else {
				_ = os.WriteFile(filepath.Join(target, "canary"), []byte("canary"), 0o600)
			}
			noError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			noError(t, os.Symlink(target, path))
			before := contents(t, target)
			n++
			work(n, name)
			if after := contents(t, target); after != before {
				t.Errorf("%s was followed to\n%s\nwhich was\n%s", name, after, before)
			}
			_ = os.RemoveAll(path) // the link, or the file that took its place
			if moved {
				noError(t, os.Rename(aside, path))
			}
		}
	}
	work(n+1, "")
	if refusals, err := quarantined(t, w, 1); err != nil || len(refusals) == 0 {
		t.Errorf("got %v %v, want refused rows", refusals, err)
	}
}

// The folder opens, whatever is in the place of a file of one tenant or origin. The other tenants and the other files
// of the quarantine are read.
func TestOpen_OddFilesOfOneTenantDoNotStopOthers(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	bad := row{"user_id": tenantB, "id": "none", "created_at": "never"}
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil), bad)
	publish(t, w)
	noError(t, w.Close())
	odd := map[string]func(path string){
		"link":   func(path string) { noError(t, os.Symlink("/nonexistent", path)) },
		"pipe":   func(path string) { noError(t, syscall.Mkfifo(path, 0o600)) },
		"folder": func(path string) { noError(t, os.Mkdir(path, 0o700)) },
	}
	a := tenantA.String()
	for _, place := range []string{"warehouse/" + a + ".duckdb", "published/" + a, "lake/tenant_id=" + a,
		"lake/tenant_id=" + a + "/calls/month=2026-03/calls.parquet", "quarantine/x.ndjson"} {
		for name, create := range odd {
			t.Run(place+" "+name, func(t *testing.T) {
				path, aside := filepath.Join(dir, place), filepath.Join(t.TempDir(), "aside")
				moved := os.Rename(path, aside) == nil
				create(path)
				w := open(t, dir)
				w.Scrub(t.Context(), 0)
				_, _ = w.Publish(t.Context())
				_, _, err := w.VerifiedFiles(t.Context(), tenantB)
				noError(t, err)
				noError(t, w.OpenTenant(t.Context(), tenantB))
				refusals, err := quarantined(t, w, 10)
				noError(t, err)
				if !slices.ContainsFunc(refusals, func(r warehouse.Refusal) bool {
					return strings.Contains(r.Row, tenantB.String())
				}) {
					t.Errorf("got refusals %v, want the row of tenant B", refusals)
				}
				_, _, err = w.Replay(t.Context(), nil)
				noError(t, err)
				if place == "quarantine/x.ndjson" {
					want(t, kinds(w), "/quarantine_unreadable/quarantine/x.ndjson")
				}
				noError(t, w.Close())
				noError(t, os.RemoveAll(path))
				if moved {
					noError(t, os.Rename(aside, path))
				}
			})
		}
	}
}
