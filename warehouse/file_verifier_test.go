package warehouse_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// damages are ways to damage the published file at path. other is a sound published file of another tenant, and sibling
// one of another month of the same tenant.
var damages = map[string]func(t *testing.T, path, other, sibling string){
	"first bit":      func(t *testing.T, path, _, _ string) { flip(t, path, 0) },
	"bit in a page":  func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)/3) },
	"bit of footer":  func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)-20) },
	"last bit":       func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)-1) },
	"truncated":      func(t *testing.T, path, _, _ string) { noError(t, os.Truncate(path, size(t, path)/2)) },
	"empty":          func(t *testing.T, path, _, _ string) { noError(t, os.Truncate(path, 0)) },
	"extended":       func(t *testing.T, path, _, _ string) { noError(t, os.Truncate(path, size(t, path)+1)) },
	"deleted":        func(t *testing.T, path, _, _ string) { noError(t, os.Remove(path)) },
	"folder deleted": func(t *testing.T, path, _, _ string) { noError(t, os.RemoveAll(filepath.Dir(path))) },
	"symbolic link": func(t *testing.T, path, other, _ string) {
		noError(t, os.Remove(path))
		noError(t, os.Symlink(other, path))
	},
	"link to its own content": func(t *testing.T, path, _, _ string) {
		noError(t, os.Rename(path, path+".away"))
		noError(t, os.Symlink(path+".away", path))
	},
	"pipe": func(t *testing.T, path, _, _ string) {
		noError(t, os.Remove(path))
		noError(t, syscall.Mkfifo(path, 0o600))
	},
	"folder": func(t *testing.T, path, _, _ string) {
		noError(t, os.Remove(path))
		noError(t, os.Mkdir(path, 0o700))
	},
	"hard link of another tenant's": func(t *testing.T, path, other, _ string) {
		noError(t, os.Remove(path))
		noError(t, os.Link(other, path))
	},
	"another partition": func(t *testing.T, path, _, sibling string) {
		content, err := os.ReadFile(sibling)
		noError(t, err)
		noError(t, os.WriteFile(path, content, 0o600))
	},
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	noError(t, err)
	return info.Size()
}

// flip inverts a bit of a file in place, as a disk does. Unlike a disk, the write also changes the times of the inode.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	noError(t, err)
	defer file.Close()
	b := make([]byte, 1)
	_, err = file.ReadAt(b, at)
	noError(t, err)
	_, err = file.WriteAt([]byte{b[0] ^ 0x10}, at)
	noError(t, err)
}

// However a published file is damaged, no reader gets a byte of it: downloads and SQL are refused, and snapshots read
// the rows from the store. The publisher is woken, and after it has run everything is as before.
func TestPublishedFiles_DamagedFileIsNeverRead(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	rows := func(tenant uuid.UUID, month string) (list []any) {
		for n := range 50 {
			list = append(list, call(tenant, n, row{"created_at": "2026-" + month + "-03T10:00:00Z",
				"id":      fmt.Sprintf("%s-0000-4000-8000-0000%s%06d", tenant.String()[:8], month, n),
				"summary": fmt.Sprint(tenant, month, n), "transcript": "Agent: hello " + fmt.Sprint(n)}))
		}
		return list
	}
	for _, month := range []string{"03", "05"} {
		merge(t, w, schema.Calls, rows(tenantA, month)...)
	}
	merge(t, w, schema.Calls, rows(tenantB, "03")...)
	publish(t, w)
	truth := snapshotRows(t, w)
	for _, export := range []string{"calls", "cost_daily", "transcript_turns"} {
		for name, damage := range damages {
			t.Run(export+" "+name, func(t *testing.T) {
				path := func(tenant uuid.UUID, month string) (warehouse.PublishedFile, string) {
					files, err := w.PublishedFiles(t.Context(), tenant)
					noError(t, err)
					i := slices.IndexFunc(files, func(f warehouse.PublishedFile) bool {
						return f.Export == export && f.Month == "2026-"+month
					})
					return files[i], filepath.Join(w.PublishedDirs(tenant)[0], files[i].Name)
				}
				file, damaged := path(tenantA, "03")
				_, other := path(tenantB, "03")
				_, sibling := path(tenantA, "05")
				_, content, err := w.OpenPublished(t.Context(), tenantA, export, file.Name) // its digest is remembered
				noError(t, err)
				noError(t, content.Close())
				damage(t, damaged, other, sibling)

				_, content, err = w.OpenPublished(t.Context(), tenantA, export, file.Name)
				if content != nil {
					t.Fatal("got the content of a damaged file")
				}
				wantKind(t, err, warehouse.ErrUnavailable)
				_, _, err = w.VerifiedFiles(t.Context(), tenantA)
				wantKind(t, err, warehouse.ErrUnavailable)
				want(t, snapshotRows(t, w), truth)
				if !strings.Contains(kinds(w), "A/file_damaged/published/"+tenantA.String()+"/"+file.Name) {
					t.Errorf("got conditions %s, want the damaged file %s", kinds(w), file.Name)
				}
				if _, _, err := w.VerifiedFiles(t.Context(), tenantB); err != nil {
					t.Errorf("tenant B: got %v, want no error", err)
				}
				select {
				case <-w.PublishSoon():
				default:
					t.Error("got no request to publish")
				}

				publish(t, w)
				want(t, kinds(w), "")
				files, _, err := w.VerifiedFiles(t.Context(), tenantA)
				noError(t, err)
				for _, f := range files {
					_, content, err := w.OpenPublished(t.Context(), tenantA, f.Export, f.Name)
					noError(t, err)
					got, err := io.ReadAll(content)
					noError(t, err)
					noError(t, content.Close())
					inLake, err := os.ReadFile(filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), f.Export, "month="+f.Month,
						f.Export+".parquet"))
					noError(t, err)
					if !bytes.Equal(got, inLake) {
						t.Errorf("%s: got other bytes in the lake", f.Name)
					}
				}
				want(t, snapshotRows(t, w), truth)
			})
		}
	}
	noError(t, w.Close())
}

// snapshotRows returns a digest of the rows that a snapshot selects for tenant A, of each export.
func snapshotRows(t *testing.T, w *warehouse.Warehouse) (digests string) {
	t.Helper()
	s, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	defer func() { noError(t, s.Close()) }()
	for _, name := range []string{"calls", "cost_daily", "transcript_turns"} {
		statement, err := s.Select(t.Context(), schema.MustExport(name), schema.Filter{})
		noError(t, err)
		var digest string
		noError(t, s.Conn.QueryRowContext(t.Context(),
			"SELECT concat(count(*), ' ', sum(hash(r::VARCHAR))) FROM ("+statement+") AS r").Scan(&digest))
		digests += digest + "\n"
	}
	return digests
}

// A scrub finds damage that no reader has seen, even if the times of the inode are as before.
func TestScrub_FindsDamageThatChangesNoTime(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	publish(t, w)
	files, err := w.PublishedFiles(t.Context(), tenantA)
	noError(t, err)
	noError(t, w.ScrubTenant(t.Context(), tenantA, 1<<30))
	want(t, kinds(w), "")
	path := filepath.Join(dir, "published", tenantA.String(), files[0].Name)
	before, err := os.Stat(path)
	noError(t, err)
	flip(t, path, 100)
	noError(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	noError(t, w.ScrubTenant(t.Context(), tenantA, 1<<30))
	want(t, kinds(w), "A/file_damaged/published/"+tenantA.String()+"/"+files[0].Name)
	publish(t, w)
	want(t, kinds(w), "")
	noError(t, w.Close())
}

// Files that were deleted while no process had the folder open come back with the next inspection and publication.
func TestScrub_InspectionFindsDeletedFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, gone := range []string{"lake", "published", "lake/tenant_id=" + tenantA.String(),
		"published/" + tenantA.String()} {
		w := open(t, dir)
		merge(t, w, schema.Calls, call(tenantA, 1, row{"cost": len(gone)}))
		publish(t, w)
		before := len(files(t, filepath.Join(dir, "lake")))
		noError(t, w.Close())
		noError(t, os.RemoveAll(filepath.Join(dir, gone)))
		w = open(t, dir)
		w.Scrub(t.Context(), 0)
		if got := kinds(w); !strings.Contains(got, "A/file_damaged/") {
			t.Errorf("%s deleted: got conditions %q, want damaged files", gone, got)
		}
		publish(t, w)
		want(t, kinds(w), "")
		if got := len(files(t, filepath.Join(dir, "lake"))); got != before {
			t.Errorf("%s deleted: got %d files in the lake, want %d", gone, got, before)
		}
		_, _, err := w.VerifiedFiles(t.Context(), tenantA)
		noError(t, err)
		noError(t, w.Close())
	}
}

// The times of a tenant have the distance of the period, wherever the search begins.
func TestScrubAfter_IsPeriodic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "every"))
		last := time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "last"))
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		next := warehouse.ScrubAfter(id, every, last)
		if wait := next.Sub(last); wait <= 0 || wait > every {
			t.Fatalf("got a wait of %s in a period of %s", wait, every)
		}
		if again := warehouse.ScrubAfter(id, every, next); again.Sub(next) != every {
			t.Fatalf("got %s after %s, want a period of %s", again, next, every)
		}
	})
}
