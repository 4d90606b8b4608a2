package rows_test

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

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// damages are ways to damage the published file at path. other is a sound published file of another tenant, and sibling
// one of another month of the same tenant.
var damages = map[string]func(t *testing.T, path, other, sibling string){
	"first bit":      func(t *testing.T, path, _, _ string) { flip(t, path, 0) },
	"bit in a page":  func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)/3) },
	"bit of footer":  func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)-20) },
	"last bit":       func(t *testing.T, path, _, _ string) { flip(t, path, size(t, path)-1) },
	"truncated":      func(t *testing.T, path, _, _ string) { NoError(t, os.Truncate(path, size(t, path)/2)) },
	"empty":          func(t *testing.T, path, _, _ string) { NoError(t, os.Truncate(path, 0)) },
	"extended":       func(t *testing.T, path, _, _ string) { NoError(t, os.Truncate(path, size(t, path)+1)) },
	"deleted":        func(t *testing.T, path, _, _ string) { NoError(t, os.Remove(path)) },
	"folder deleted": func(t *testing.T, path, _, _ string) { NoError(t, os.RemoveAll(filepath.Dir(path))) },
	"symbolic link": func(t *testing.T, path, other, _ string) {
		NoError(t, os.Remove(path))
		NoError(t, os.Symlink(other, path))
	},
	"link to its own content": func(t *testing.T, path, _, _ string) {
		NoError(t, os.Rename(path, path+".away"))
		NoError(t, os.Symlink(path+".away", path))
	},
	"pipe": func(t *testing.T, path, _, _ string) {
		NoError(t, os.Remove(path))
		NoError(t, syscall.Mkfifo(path, 0o600))
	},
	"folder": func(t *testing.T, path, _, _ string) {
		NoError(t, os.Remove(path))
		NoError(t, os.Mkdir(path, 0o700))
	},
	"hard link of another tenant's": func(t *testing.T, path, other, _ string) {
		NoError(t, os.Remove(path))
		NoError(t, os.Link(other, path))
	},
	"another partition": func(t *testing.T, path, _, sibling string) {
		content, err := os.ReadFile(sibling)
		NoError(t, err)
		NoError(t, os.WriteFile(path, content, 0o600))
	},
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	NoError(t, err)
	return info.Size()
}

// flip inverts a bit of a file in place, as a disk does. Unlike a disk, the write also changes the times of the inode.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	NoError(t, err)
	defer file.Close()
	b := make([]byte, 1)
	_, err = file.ReadAt(b, at)
	NoError(t, err)
	_, err = file.WriteAt([]byte{b[0] ^ 0x10}, at)
	NoError(t, err)
}

// However a published file is damaged, no reader gets a byte of it: downloads and SQL are refused, and snapshots read
// the rows from the store. The publisher is woken, and after it has run everything is as before.
func TestPublishedFiles_DamagedFileIsNeverRead(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	rows := func(tenant uuid.UUID, month string) (list []any) {
		for n := range 50 {
			list = append(list, Call(tenant, n, Row{"created_at": "2026-" + month + "-03T10:00:00Z",
				"id":      fmt.Sprintf("%s-0000-4000-8000-0000%s%06d", tenant.String()[:8], month, n),
				"summary": fmt.Sprint(tenant, month, n), "transcript": "Agent: hello " + fmt.Sprint(n)}))
		}
		return list
	}
	for _, month := range []string{"03", "05"} {
		Merge(t, w, schema.Calls, rows(TenantA, month)...)
	}
	Merge(t, w, schema.Calls, rows(TenantB, "03")...)
	Publish(t, w)
	truth := snapshotRows(t, w)
	for _, export := range []string{"calls", "cost_daily", "transcript_turns"} {
		for name, damage := range damages {
			if export != "calls" && name != "bit in a page" && name != "deleted" { // no other damage depends on the export
				continue
			}
			t.Run(export+" "+name, func(t *testing.T) {
				path := func(tenant uuid.UUID, month string) (warehouse.PublishedFile, string) {
					files, err := w.PublishedFiles(t.Context(), tenant)
					NoError(t, err)
					i := slices.IndexFunc(files, func(f warehouse.PublishedFile) bool {
						return f.Export == export && f.Month == "2026-"+month
					})
					return files[i], filepath.Join(w.PublishedDirs(tenant)[0], files[i].Name)
				}
				file, damaged := path(TenantA, "03")
				_, other := path(TenantB, "03")
				_, sibling := path(TenantA, "05")
				_, content, err := w.OpenPublished(t.Context(), TenantA, export, file.Name) // its digest is remembered
				NoError(t, err)
				NoError(t, content.Close())
				damage(t, damaged, other, sibling)

				_, content, err = w.OpenPublished(t.Context(), TenantA, export, file.Name)
				if content != nil {
					t.Fatal("got the content of a damaged file")
				}
				WantKind(t, err, warehouse.ErrUnavailable)
				_, _, err = w.VerifiedFiles(t.Context(), TenantA)
				WantKind(t, err, warehouse.ErrUnavailable)
				Want(t, snapshotRows(t, w), truth)
				if !strings.Contains(Conditions(w), "A/file_damaged/published/"+TenantA.String()+"/"+file.Name) {
					t.Errorf("got conditions %s, want the damaged file %s", Conditions(w), file.Name)
				}
				if _, _, err := w.VerifiedFiles(t.Context(), TenantB); err != nil {
					t.Errorf("tenant B: got %v, want no error", err)
				}
				select {
				case <-w.PublishSoon():
				default:
					t.Error("got no request to publish")
				}

				Publish(t, w)
				Want(t, Conditions(w), "")
				files, _, err := w.VerifiedFiles(t.Context(), TenantA)
				NoError(t, err)
				for _, f := range files {
					_, content, err := w.OpenPublished(t.Context(), TenantA, f.Export, f.Name)
					NoError(t, err)
					got, err := io.ReadAll(content)
					NoError(t, err)
					NoError(t, content.Close())
					inLake, err := os.ReadFile(filepath.Join(dir, "lake", "tenant_id="+TenantA.String(), f.Export, "month="+f.Month,
						f.Export+".parquet"))
					NoError(t, err)
					if !bytes.Equal(got, inLake) {
						t.Errorf("%s: got other bytes in the lake", f.Name)
					}
				}
				Want(t, snapshotRows(t, w), truth)
			})
		}
	}
	NoError(t, w.Close())
}

// snapshotRows returns a digest of the rows that a snapshot selects for tenant A, of each export.
func snapshotRows(t *testing.T, w *warehouse.Warehouse) (digests string) {
	t.Helper()
	s, err := w.Snapshot(t.Context(), TenantA)
	NoError(t, err)
	defer func() { NoError(t, s.Close()) }()
	for _, name := range []string{"calls", "cost_daily", "transcript_turns"} {
		statement, err := s.Select(t.Context(), schema.MustExport(name), schema.Filter{})
		NoError(t, err)
		var digest string
		NoError(t, s.Conn.QueryRowContext(t.Context(),
			"SELECT concat(count(*), ' ', sum(hash(r::VARCHAR))) FROM ("+statement+") AS r").Scan(&digest))
		digests += digest + "\n"
	}
	return digests
}

// A scrub finds damage that no reader has seen, even if the times of the inode are as before.
func TestScrub_FindsDamageThatChangesNoTime(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	Publish(t, w)
	files, err := w.PublishedFiles(t.Context(), TenantA)
	NoError(t, err)
	NoError(t, w.ScrubTenant(t.Context(), TenantA, 1<<30))
	Want(t, Conditions(w), "")
	path := filepath.Join(dir, "published", TenantA.String(), files[0].Name)
	before, err := os.Stat(path)
	NoError(t, err)
	flip(t, path, 100)
	NoError(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
	NoError(t, w.ScrubTenant(t.Context(), TenantA, 1<<30))
	Want(t, Conditions(w), "A/file_damaged/published/"+TenantA.String()+"/"+files[0].Name)
	Publish(t, w)
	Want(t, Conditions(w), "")
	NoError(t, w.Close())
}

// Files that were deleted while no process had the folder open come back with the next inspection and publication.
func TestScrub_InspectionFindsDeletedFolders(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, gone := range []string{"lake", "published", "lake/tenant_id=" + TenantA.String(),
		"published/" + TenantA.String()} {
		w := Open(t, dir)
		Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"cost": len(gone)}))
		Publish(t, w)
		before := len(Files(t, filepath.Join(dir, "lake")))
		NoError(t, w.Close())
		NoError(t, os.RemoveAll(filepath.Join(dir, gone)))
		w = Open(t, dir)
		w.Scrub(t.Context(), 0)
		if got := Conditions(w); !strings.Contains(got, "A/file_damaged/") {
			t.Errorf("%s deleted: got conditions %q, want damaged files", gone, got)
		}
		Publish(t, w)
		Want(t, Conditions(w), "")
		if got := len(Files(t, filepath.Join(dir, "lake"))); got != before {
			t.Errorf("%s deleted: got %d files in the lake, want %d", gone, got, before)
		}
		_, _, err := w.VerifiedFiles(t.Context(), TenantA)
		NoError(t, err)
		NoError(t, w.Close())
	}
}
