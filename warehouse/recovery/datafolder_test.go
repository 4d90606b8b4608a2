package recovery_test

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
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// Files that DuckDB creates by itself, such as those that it spills, are private whatever the umask of the process
// was.
func TestOpen_SpillFilesArePrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "50MB"})
	NoError(t, err)
	defer func() { NoError(t, w.Close()) }()
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	snapshot, err := w.Snapshot(t.Context(), TenantA)
	NoError(t, err)
	defer func() { NoError(t, snapshot.Close()) }()
	_, err = snapshot.Conn.ExecContext(t.Context(),
		"CREATE TEMP TABLE spilled AS SELECT i, md5(i::VARCHAR) AS text FROM range(4_000_000) AS r(i)")
	NoError(t, err)
	spilled := 0
	NoError(t, filepath.WalkDir(w.TempDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		NoError(t, err)
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
	dir := EmptyFolder(t)
	w := Open(t, dir)
	defer func() { _ = w.Close() }() // fails if the test has replaced a file of the folder
	month := func(n int) Row { return Row{"created_at": fmt.Sprintf("2026-%02d-01T00:00:00Z", n)} }
	Merge(t, w, schema.Calls, Call(TenantA, 1, month(1)))
	Merge(t, w, schema.Calls, Call(TenantB, 1, month(1)))
	Publish(t, w)
	work := func(n int, name string) {
		refused := Call(TenantA, n, Row{"created_at": "never"})
		refused["id"] = fmt.Sprint("none ", n)
		_, _, _ = w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x",
			Rows: Lines(t, Call(TenantA, n, month(1)), Call(TenantA, 100+n, month(2)), refused)})
		_, _ = w.Publish(t.Context())
		if name == "tmp" || name == "quarantine" { // the following work writes no other files than the work above
			_, _, _ = w.Replay(t.Context(), nil)
			admit := func() (func(), error) { return func() {}, nil }
			if _, content, err := w.OpenDatabase(t.Context(), TenantA, "", admit); err == nil {
				NoError(t, content.Close())
			}
		}
		_ = w.RefuseFile(warehouse.Refusal{File: "x", Reason: fmt.Sprint(n)})
	}
	lake := "lake/tenant_id=" + TenantA.String()
	n := 1
	for _, name := range []string{
		"tmp", "quarantine", "lake", lake, lake + "/calls", lake + "/calls/month=2026-01", lake + "/calls/month=2026-02",
		lake + "/calls/month=2026-01/calls.parquet", lake + "/calls/month=2026-01/.calls.parquet.unfinished",
		"published", "published/" + TenantA.String(), "published/replaced", "published/replaced/" + TenantA.String(),
		"warehouse", "warehouse/" + TenantA.String() + ".unpublished",
	} {
		targets := []string{filepath.Join(dir, "lake/tenant_id="+TenantB.String(), "calls")}
		if !strings.Contains(name, "/") {
			targets = append(targets, t.TempDir())
		}
		for _, target := range targets {
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
			NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			NoError(t, os.Symlink(target, path))
			before := Contents(t, target)
			n++
			work(n, name)
			if after := Contents(t, target); after != before {
				t.Errorf("%s was followed to\n%s\nwhich was\n%s", name, after, before)
			}
			_ = os.RemoveAll(path) // the link, or the file that took its place
			if moved {
				NoError(t, os.Rename(aside, path))
			}
		}
	}
	work(n+1, "")
	if refusals, err := Quarantined(t, w, 1); err != nil || len(refusals) == 0 {
		t.Errorf("got %v %v, want refused rows", refusals, err)
	}
}

// The folder opens, whatever is in the place of a file of one tenant or origin. The other tenants and the other files
// of the quarantine are read.
func TestOpen_OddFilesOfOneTenantDoNotStopOthers(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	bad := Row{"user_id": TenantB, "id": "none", "created_at": "never"}
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantB, 1, nil), bad)
	Publish(t, w)
	NoError(t, w.Close())
	odd := map[string]func(path string){
		"link":   func(path string) { NoError(t, os.Symlink("/nonexistent", path)) },
		"pipe":   func(path string) { NoError(t, syscall.Mkfifo(path, 0o600)) },
		"folder": func(path string) { NoError(t, os.Mkdir(path, 0o700)) },
	}
	a := TenantA.String()
	for _, place := range []string{"warehouse/" + a + ".duckdb", "published/" + a, "lake/tenant_id=" + a,
		"lake/tenant_id=" + a + "/calls/month=2026-03/calls.parquet", "quarantine/x.ndjson"} {
		for name, create := range odd {
			t.Run(place+" "+name, func(t *testing.T) {
				path, aside := filepath.Join(dir, place), filepath.Join(t.TempDir(), "aside")
				moved := os.Rename(path, aside) == nil
				create(path)
				w := Open(t, dir)
				w.Scrub(t.Context(), 0)
				_, _ = w.Publish(t.Context())
				_, _, err := w.VerifiedFiles(t.Context(), TenantB)
				NoError(t, err)
				WantCallCount(t, w, TenantB, 1)
				refusals, err := Quarantined(t, w, 10)
				NoError(t, err)
				if !slices.ContainsFunc(refusals, func(r warehouse.Refusal) bool {
					return strings.Contains(r.Row, TenantB.String())
				}) {
					t.Errorf("got refusals %v, want the row of tenant B", refusals)
				}
				_, _, err = w.Replay(t.Context(), nil)
				NoError(t, err)
				if place == "quarantine/x.ndjson" {
					Want(t, Conditions(w), "/quarantine_unreadable/quarantine/x.ndjson")
				}
				NoError(t, w.Close())
				NoError(t, os.RemoveAll(path))
				if moved {
					NoError(t, os.Rename(aside, path))
				}
			})
		}
	}
}
