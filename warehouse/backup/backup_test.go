package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/journal"
	"github.com/voicory/warehouse/warehouse/schema"
)

var tenant = uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000001")

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write writes a backup with the files and one entry of a journal.
func write(t testing.TB, dest string, files map[string]string, keep int) {
	t.Helper()
	w, err := Create(dest)
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	started := time.Now().UTC()
	m := Manifest{Format: format, Name: Name(started), StartedAt: started, Tenants: []Tenant{{ID: tenant, State: "1"}}}
	for path, text := range files {
		file := filepath.Join(t.TempDir(), "content")
		noError(t, os.WriteFile(file, []byte(text), 0o600))
		in, err := os.Open(file)
		noError(t, err)
		added, err := w.Add(t.Context(), Content{Path: path, File: in, Size: int64(len(text))})
		noError(t, err)
		noError(t, in.Close())
		m.Tenants[0].Files = append(m.Tenants[0].Files, added)
	}
	entry, err := new(journal.Journal).NewEntry(journal.KeyRevoked, "a key")
	noError(t, err)
	_, err = w.Commit(t.Context(), m, []journal.Entry{entry}, keep)
	noError(t, err)
}

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

// read returns the files of the newest backup.
func read(t testing.TB, path string) (files map[string]string, entries int, err error) {
	t.Helper()
	source, err := Open(t.Context(), path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = source.Close() }() // it was only read
	m, err := Select(source, "", uuid.Nil)
	if err != nil {
		return nil, 0, err
	}
	texts := map[string]*buffer{}
	err = source.Extract(t.Context(), m.AllFiles(), func(f File) (io.WriteCloser, error) {
		texts[f.Path] = &buffer{}
		return texts[f.Path], nil
	})
	if err != nil {
		return nil, 0, err
	}
	files = map[string]string{}
	for path, text := range texts {
		files[path] = text.String()
	}
	facts, _, err := source.Journal()
	return files, len(facts), err
}

// objects returns the paths of the contents in a folder of backups.
func objects(t testing.TB, dest string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dest, objectsDir, "*", "*"))
	noError(t, err)
	return paths
}

var someFiles = map[string]string{
	"warehouse/a.duckdb": strings.Repeat("rows ", 5000), "control.duckdb": "keys", "quarantine/x.ndjson": "",
	"copy": "keys",
}

// A flipped bit anywhere in a backup is an error, or changes nothing that is read. The error names the damaged file.
func TestBackup_FlippedBit(t *testing.T) {
	for _, name := range []string{"folder", "b.tar", "b.tar.zst"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dest := filepath.Join(t.TempDir(), name)
			write(t, dest, someFiles, 0)
			files := []string{dest}
			if name == "folder" {
				manifests, err := filepath.Glob(filepath.Join(dest, manifestsDir, "*.json"))
				noError(t, err)
				files = append(objects(t, dest), manifests...)
			}
			contents := map[string][]byte{}
			for _, file := range files {
				text, err := os.ReadFile(file)
				noError(t, err)
				contents[file] = text
			}
			rapid.Check(t, func(r *rapid.T) {
				file := rapid.SampledFrom(files).Draw(r, "file")
				whole := contents[file]
				if len(whole) == 0 {
					return
				}
				at, bit := rapid.IntRange(0, len(whole)-1).Draw(r, "at"), rapid.IntRange(0, 7).Draw(r, "bit")
				damaged := bytes.Clone(whole)
				damaged[at] ^= 1 << bit
				noError(t, os.WriteFile(file, damaged, 0o600))
				defer func() { noError(t, os.WriteFile(file, whole, 0o600)) }()
				got, _, err := read(t, dest)
				switch {
				case err == nil:
					// Padding of a tar and unused bits of zstd carry nothing.
					if name == "folder" || fmt.Sprint(got) != fmt.Sprint(someFiles) {
						r.Errorf("%s at %d: got the files %.200v and no error", file, at, got)
					}
				case !strings.Contains(err.Error(), file):
					r.Errorf("error does not name %s: %v", file, err)
				}
			})
		})
	}
}

// A backup that is cut off at any place is an error.
func TestBackup_TruncatedArchiveIsAnError(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "b.tar.zst")
	write(t, dest, someFiles, 0)
	whole, err := os.ReadFile(dest)
	noError(t, err)
	for size := range whole {
		noError(t, os.WriteFile(dest, whole[:size], 0o600))
		var damaged *DamagedError
		if _, _, err := read(t, dest); !errors.As(err, &damaged) {
			t.Fatalf("%d of %d bytes: got error %v, want a DamagedError", size, len(whole), err)
		}
	}
}

// A backup that was killed leaves the earlier ones whole. The next one removes its unfinished files, and continues with
// the tenants that it has copied.
func TestBackup_InterruptedOneIsContinued(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "backups")
	write(t, dest, someFiles, 0)
	w, err := Create(dest)
	noError(t, err)
	_, err = Create(dest)
	if !errors.Is(err, ErrInUse) {
		t.Errorf("second writer: got error %v, want %v", err, ErrInUse)
	}
	in, err := os.Open(os.Args[0])
	noError(t, err)
	defer in.Close()
	file, err := w.Add(t.Context(), Content{Path: "warehouse/b.duckdb", File: in, Size: 1000})
	noError(t, err)
	noError(t, os.WriteFile(filepath.Join(dest, objectsDir, ".x"+tempEnd), []byte("half"), 0o600))
	started := time.Now().UTC()
	noError(t, w.Note(Manifest{Name: Name(started), StartedAt: started,
		Tenants: []Tenant{{ID: tenant, State: "2", Files: []File{file}}}}))
	noError(t, w.Close()) // as the end of a process does

	if got, entries, err := read(t, dest); err != nil || fmt.Sprint(got) != fmt.Sprint(someFiles) || entries != 1 {
		t.Errorf("got the files %.200v, %d entries and error %v, want those of the complete backup", got, entries, err)
	}
	w, err = Create(dest)
	noError(t, err)
	if _, ok := w.Previous(tenant, "2"); !ok {
		t.Error("the interrupted copy is not used")
	}
	noError(t, w.Close())
	write(t, dest, someFiles, 0)
	if got := objects(t, dest); len(got) != 3 {
		t.Errorf("got the objects %v, want 3", got)
	}
	if left, _ := filepath.Glob(filepath.Join(dest, objectsDir, ".*")); len(left) > 0 {
		t.Errorf("got the unfinished files %v, want none", left)
	}
}

// Unchanged files share their content, and the removal of old backups removes only what no backup needs.
func TestBackup_PruneRemovesOnlyUnneededObjects(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "backups")
	for n := range 4 {
		write(t, dest, map[string]string{"same": "same", "other": fmt.Sprint(n)}, 2)
	}
	source, err := Open(t.Context(), dest)
	noError(t, err)
	backups, damaged, err := source.List()
	noError(t, err)
	if len(backups) != 2 || len(damaged) != 0 || len(objects(t, dest)) != 3 {
		t.Errorf("got %d backups and the objects %v, want 2 and 3", len(backups), objects(t, dest))
	}
	for _, m := range backups {
		if damaged, err := Verify(t.Context(), source, m); err != nil || len(damaged) > 0 {
			t.Errorf("backup %s: got damage %v, error %v", m.Name, damaged, err)
		}
	}
	if _, err := Select(source, backups[0].StartedAt.Add(-time.Hour).Format(time.RFC3339), uuid.Nil); !errors.Is(err,
		schema.ErrNotFound) {
		t.Errorf("before the first backup: got error %v, want %v", err, schema.ErrNotFound)
	}
	for at, want := range map[string]string{"": backups[1].Name, backups[0].Name: backups[0].Name,
		backups[1].StartedAt.Add(time.Second).Format(time.RFC3339): backups[1].Name} {
		if m, err := Select(source, at, uuid.Nil); err != nil || m.Name != want {
			t.Errorf("at %q: got %q, %v, want %q", at, m.Name, err, want)
		}
	}
}

// A folder with other content is refused and not changed.
func TestBackup_ForeignFolder(t *testing.T) {
	dest := t.TempDir()
	noError(t, os.WriteFile(filepath.Join(dest, "letter.txt"), nil, 0o600))
	if _, err := Create(dest); !errors.Is(err, schema.ErrInvalid) {
		t.Errorf("got error %v, want %v", err, schema.ErrInvalid)
	}
	if entries, err := os.ReadDir(dest); err != nil || len(entries) != 1 {
		t.Errorf("got the entries %v, %v, want one", entries, err)
	}
}
