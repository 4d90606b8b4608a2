package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noError(t interface {
	Helper()
	Fatal(args ...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A fileSet is a FileSet in memory.
type fileSet map[uint64]bool

func (s fileSet) SourceFiles(context.Context, uuid.UUID, string) (map[uint64]bool, error) {
	return maps.Clone(s), nil
}

func (s fileSet) ForgetSourceFiles(_ context.Context, _ uuid.UUID, _ string, files []uint64) error {
	for _, hash := range files {
		delete(s, hash)
	}
	return nil
}

// pull pulls once and returns the paths of the files that were taken, relative to the folder.
func pull(t *testing.T, s *Source, known fileSet) (taken []string) {
	t.Helper()
	noError(t, s.Pull(t.Context(), nil, func(_ context.Context, p ingest.Portion) error {
		for _, file := range p.Files {
			path, err := filepath.Rel(s.Path, file.Name)
			noError(t, err)
			taken = append(taken, path)
			known[file.Hash] = true
		}
		return nil
	}))
	return taken
}

func newSource(t *testing.T, dir string, known fileSet) *Source {
	t.Helper()
	s, err := New(Options{Path: dir, Files: known, Log: slog.New(slog.DiscardHandler)})
	noError(t, err)
	return s
}

func write(t *testing.T, path, text string) {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	noError(t, os.WriteFile(path, []byte(text), 0o600))
}

// Files arrive in each way that leaves their ctime older than that of files that were read before.
func TestPull_FilesOlderThanThoseRead(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	in, known := filepath.Join(root, "in"), fileSet{}
	at := func(name string) string { return filepath.Join(root, name) }
	for _, name := range []string{"stage/moved/calls-1.ndjson", "stage/linked/calls-2.ndjson", "in/.hidden/calls-3.ndjson",
		"stage/calls-4.ndjson", "stage/calls-5.ndjson", "in/.calls-6.ndjson", "in/calls-7.ndjson"} {
		write(t, at(name), name)
	}
	s := newSource(t, in, known)
	if taken := pull(t, s, known); taken != nil {
		t.Errorf("got files %q younger than %s, want none", taken, minAge)
	}
	await(t, s, known, "calls-7.ndjson")
	s = newSource(t, in, known) // a restart
	noError(t, os.Rename(at("stage/moved"), at("in/moved")))
	noError(t, os.Symlink("../stage/linked", at("in/linked")))
	noError(t, os.Rename(at("in/.hidden"), at("in/shown")))
	noError(t, os.Symlink("../stage/calls-4.ndjson", at("in/calls-4.ndjson")))
	noError(t, os.Link(at("stage/calls-5.ndjson"), at("in/calls-5.ndjson")))
	noError(t, os.Rename(at("in/.calls-6.ndjson"), at("in/calls-6.ndjson")))
	old := time.Now().Add(-time.Hour)
	noError(t, os.Chtimes(at("in/calls-6.ndjson"), old, old)) // as by a copy that preserves times
	await(t, s, known, "calls-4.ndjson", "calls-5.ndjson", "calls-6.ndjson", "linked/calls-2.ndjson",
		"moved/calls-1.ndjson", "shown/calls-3.ndjson")
	noError(t, os.RemoveAll(in))
	if err := s.Pull(t.Context(), nil, nil); !errors.Is(err, warehouse.ErrNotFound) || !strings.Contains(err.Error(), in) {
		t.Errorf("missing folder: got %v, want ErrNotFound with its path", err)
	}
}

// await pulls until the wanted files have been taken, because young files are left out at first, and once more.
func await(t *testing.T, s *Source, known fileSet, want ...string) {
	t.Helper()
	var taken []string
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for deadline := time.Now().Add(5 * time.Minute); len(taken) < len(want); <-ticker.C {
		if taken = append(taken, pull(t, s, known)...); time.Now().After(deadline) {
			t.Fatalf("got %q after a minute, want %q", taken, want)
		}
	}
	taken = append(taken, pull(t, s, known)...)
	if slices.Sort(taken); !slices.Equal(taken, want) {
		t.Errorf("got %q, want %q", taken, want)
	}
}

// A ctime in the future, as after the clock was set back, delays a file until it has not changed for minAge.
func TestScan_ClockSetBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := newSource(t, dir, fileSet{})
	scan := func(after time.Duration, want int) {
		t.Helper()
		files, err := s.scan(time.Now().Add(after-24*time.Hour), fileSet{})
		noError(t, err)
		if len(files) != want {
			t.Errorf("%s: got %d files, want %d", after, len(files), want)
		}
	}
	write(t, filepath.Join(dir, "calls.ndjson"), "1")
	scan(0, 0)
	scan(minAge/2, 0)
	write(t, filepath.Join(dir, "calls.ndjson"), "12")
	scan(minAge, 0)
	scan(3*minAge, 1)
}

// Files are taken in the order of their contents, not of their arrival.
func TestScan_OrderOfContents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, name := range []string{"calls-b", "calls-c", "calls-a"} {
		path := filepath.Join(dir, name)
		write(t, path, "")
		changed := time.Now().Add(time.Duration(i-10) * time.Hour)
		noError(t, os.Chtimes(path, changed, changed))
	}
	files, err := newSource(t, dir, fileSet{}).scan(time.Now().Add(time.Hour), fileSet{})
	noError(t, err)
	for i, want := range []string{"calls-b", "calls-c", "calls-a"} {
		if got := filepath.Base(files[i].path); got != want {
			t.Errorf("file %d: got %s, want %s", i, got, want)
		}
	}
}

// After any operations on the files of a folder, a scan returns each file that changed since it was read, and no other.
func TestScan_EachFileOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		root, err := os.MkdirTemp("", "folder")
		noError(t, err)
		defer func() { noError(t, os.RemoveAll(root)) }()
		known, versions := fileSet{}, 0
		taken := map[string]bool{} // by versionOf
		s := &Source{Options: Options{Path: filepath.Join(root, "in"), Log: slog.New(slog.DiscardHandler)}}
		folders := []string{"in", "in/a", "in/.b", "out"}
		for _, folder := range folders {
			noError(t, os.MkdirAll(filepath.Join(root, folder), 0o755))
		}
		path := rapid.Custom(func(t *rapid.T) string {
			name := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
			return filepath.Join(root, rapid.SampledFrom(folders).Draw(t, "folder"), name)
		})
		scan := func(t *rapid.T) {
			files, err := s.scan(time.Now().Add(time.Hour), maps.Clone(known))
			noError(t, err)
			for _, f := range files {
				version := versionOf(f.path, f.info)
				if taken[version] {
					t.Fatalf("%s was read twice", version)
				}
				taken[version], known[f.hash] = true, true
			}
			found, _, err := ingest.Find([]string{s.Path})
			noError(t, err)
			for _, f := range found {
				if f.Info == nil { // a symbolic link to itself
					continue
				}
				if version := versionOf(f.Path, f.Info); !taken[version] {
					t.Fatalf("%s was not read", version)
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				versions++
				_ = os.WriteFile(path.Draw(t, "path"), make([]byte, versions), 0o600) // fails at a symbolic link to itself
			},
			"rename": func(t *rapid.T) { _ = os.Rename(path.Draw(t, "from"), path.Draw(t, "to")) },
			"link":   func(t *rapid.T) { _ = os.Link(path.Draw(t, "from"), path.Draw(t, "to")) },
			"symlink": func(t *rapid.T) {
				to := path.Draw(t, "to")
				_ = os.Remove(to)
				noError(t, os.Symlink(path.Draw(t, "from"), to))
			},
			"remove": func(t *rapid.T) { _ = os.Remove(path.Draw(t, "path")) },
			"swap folders": func(t *rapid.T) { // a hidden or outer folder moves in
				other := filepath.Join(root, rapid.SampledFrom([]string{"in/.b", "out"}).Draw(t, "folder"))
				noError(t, os.Rename(other, other+"~"))
				noError(t, os.Rename(filepath.Join(root, "in/a"), other))
				noError(t, os.Rename(other+"~", filepath.Join(root, "in/a")))
			},
			"": scan,
		})
	})
}

// versionOf returns a text that differs for each change of a file.
func versionOf(path string, info fs.FileInfo) string {
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprint(path, " ", stat.Ino, stat.Size, changeTime(stat))
}

// The set of files does not grow with the number of files that are gone.
func TestPull_ForgetsFilesThatAreGone(t *testing.T) {
	t.Parallel()
	known := fileSet{}
	for i := range maxGone + 1 {
		known[uint64(i)] = true
	}
	pull(t, newSource(t, t.TempDir(), known), known)
	if len(known) != 0 {
		t.Errorf("got %d files, want none", len(known))
	}
}

func TestNew_InvalidOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no path":         {},
		"unknown dataset": {Path: "x", Dataset: "calsl"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(o); !errors.Is(err, warehouse.ErrInvalid) {
				t.Errorf("got %v, want ErrInvalid", err)
			}
		})
	}
}
