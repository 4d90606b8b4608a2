package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/voicory/warehouse/internal/faultfs"
)

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErrno requires an error of the operating system.
func wantErrno(t *testing.T, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

// Each operation fails by a rule of its own, works again after the rule, and is a hit.
func TestAdd_EachOperationFailsAndHeals(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{})
	at := func(name string) string { return filepath.Join(f.Path(), name) }
	noError(t, os.Mkdir(at("folder"), 0o700))
	noError(t, os.WriteFile(at("folder/file"), []byte("text"), 0o600))
	file, err := os.OpenFile(at("folder/file"), os.O_RDWR, 0)
	noError(t, err)
	defer file.Close()
	dir, err := os.Open(at("folder"))
	noError(t, err)
	defer dir.Close()
	for _, test := range []struct {
		op      faultfs.Op
		pattern string
		path    string // of the hit
		do      func() error
	}{
		{faultfs.Open, "file", "folder/file", func() error { _, err := os.ReadFile(at("folder/file")); return err }},
		{faultfs.Create, "folder/", "folder/new", func() error { return os.WriteFile(at("folder/new"), nil, 0o600) }},
		{faultfs.Read, "folder/*", "folder/file", func() error { _, err := os.ReadFile(at("folder/file")); return err }},
		{faultfs.Write, "file", "folder/file", func() error { _, err := file.WriteAt([]byte("x"), 0); return err }},
		{faultfs.Truncate, "folder/", "folder/file", func() error { return file.Truncate(2) }},
		{faultfs.Truncate, "folder/*", "folder/file", func() error { return unix.Fallocate(int(file.Fd()), 0, 0, 100) }},
		{faultfs.SetAttr, "folder/", "folder/file", func() error { return os.Chmod(at("folder/file"), 0o640) }},
		{faultfs.Fsync, "folder/", "folder/file", file.Sync},
		{faultfs.FsyncDir, "fold*", "folder", dir.Sync},
		{faultfs.Link, "folder/*", "folder/second", func() error { return os.Link(at("folder/file"), at("folder/second")) }},
		{faultfs.Rename, "folder/", "folder/third", func() error {
			return os.Rename(at("folder/second"), at("folder/third"))
		}},
		{faultfs.Unlink, "folder/*", "folder/third", func() error { return os.Remove(at("folder/third")) }},
		{faultfs.Mkdir, "folder/", "folder/below", func() error { return os.Mkdir(at("folder/below"), 0o700) }},
		{faultfs.ReadDir, "fold*", "folder", func() error { _, err := os.ReadDir(at("folder")); return err }},
		{faultfs.Rmdir, "folder/*", "folder/below", func() error { return unix.Rmdir(at("folder/below")) }},
	} {
		t.Run(string(test.op), func(t *testing.T) {
			fault := f.Add(faultfs.Rule{Ops: []faultfs.Op{test.op}, Path: test.pattern, Errno: syscall.EIO})
			wantErrno(t, test.do(), syscall.EIO)
			fault.Remove()
			noError(t, test.do())
			hits := slices.Compact(fault.Hits()) // the kernel tries to read once more
			if !slices.Equal(hits, []faultfs.Hit{{Op: test.op, Path: test.path}}) {
				t.Fatalf("got hits %v, want one of %s", hits, test.path)
			}
		})
	}
}

// A rule chooses operations by their number, and a full disk has no free space.
func TestRule_SelectsOperationsByNumber(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{})
	free := func() uint64 {
		var stat unix.Statfs_t
		noError(t, unix.Statfs(f.Path(), &stat))
		return stat.Bavail
	}
	write := func(name string) error { return os.WriteFile(filepath.Join(f.Path(), name), []byte("text"), 0o600) }
	f.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Path: "*.wal", Skip: 1, Count: 2, Errno: syscall.ENOSPC})
	noError(t, write("1.txt"))
	noError(t, write("1.wal"))
	if free() != 0 {
		t.Fatal("got free space, want none")
	}
	wantErrno(t, write("2.wal"), syscall.ENOSPC)
	wantErrno(t, write("3.wal"), syscall.ENOSPC)
	noError(t, write("4.wal"))
	if free() == 0 {
		t.Fatal("got no free space")
	}
	short := f.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Short: true, Errno: syscall.EDQUOT})
	wantErrno(t, write("torn"), syscall.EDQUOT)
	short.Remove()
	if text, err := os.ReadFile(filepath.Join(f.Path(), "torn")); err != nil || string(text) != "te" {
		t.Fatalf("got %q and error %v, want half of the text", text, err)
	}
}

// After a power cut a file has its synced content, and any part of its other changes.
func TestPowerCut_KeepsSyncedContent(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{Recording: true})
	at := func(name string) string { return filepath.Join(f.Path(), name) }
	file, err := os.Create(at("file"))
	noError(t, err)
	defer file.Close()
	const size = 64 << 10
	write := func(b byte) {
		_, err := file.WriteAt(bytes.Repeat([]byte{b}, size), 0)
		noError(t, err)
	}
	write('a')
	noError(t, file.Sync())
	write('b')
	noError(t, file.Truncate(size/2))
	cut := cutter(t, f)
	sizes := map[int]bool{}
	for range 8 {
		content := cut("file")
		sizes[len(content)] = true
		if trimmed := bytes.Trim(content, "ab"); len(trimmed) > 0 || !bytes.ContainsAny(content, "b") {
			t.Fatalf("got other bytes than what was written: %q", trimmed)
		}
	}
	if len(sizes) != 2 {
		t.Fatalf("got sizes %v, want those before and after the truncation", sizes)
	}
	noError(t, file.Sync())
	if content := cut("file"); string(content) != string(bytes.Repeat([]byte("b"), size/2)) {
		t.Fatalf("got %d bytes after the sync, want half of the second text", len(content))
	}

	write('c')
	fault := f.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Fsync}, Errno: syscall.EIO})
	wantErrno(t, file.Sync(), syscall.EIO)
	fault.Remove()
	noError(t, file.Sync())
	pages := map[byte]bool{}
	for range 8 {
		for _, b := range cut("file") {
			pages[b] = true
		}
	}
	if !pages['b'] || !pages['c'] {
		t.Fatalf("got bytes %v after a failed sync and a later one, want pages with and without its data", pages)
	}
	write('d')
	noError(t, file.Sync())
	if content := cut("file"); string(content) != string(bytes.Repeat([]byte("d"), size)) {
		t.Fatal("got another content than what was written and synced after the failed sync")
	}
}

// A power cut loses names whose folder was not synced, in the order of the changes.
func TestPowerCut_KeepsNamesOfSyncedFolders(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{Recording: true})
	at := func(name string) string { return filepath.Join(f.Path(), name) }
	sync := func(name string) {
		t.Helper()
		file, err := os.Open(at(name))
		noError(t, err)
		noError(t, errors.Join(file.Sync(), file.Close()))
	}
	create := func(name string) {
		t.Helper()
		noError(t, os.WriteFile(at(name), []byte(name), 0o600))
		sync(name)
	}
	create("old")
	create("removed")
	noError(t, os.Mkdir(at("folder"), 0o700))
	sync(".")
	cut := cutter(t, f)
	create("new")
	noError(t, os.Rename(at("new"), at("old")))
	noError(t, os.Remove(at("removed")))
	noError(t, os.WriteFile(at("folder/unsynced"), nil, 0o600))
	outcomes := map[string]bool{}
	for range 32 {
		outcomes[fmt.Sprintf("%s %s %t", cut("old"), cut("removed"), cut("folder/unsynced") != nil)] = true
		outcomes[fmt.Sprintf("%t", cut("new") != nil)] = true
	}
	for _, want := range []string{"old removed false", "new  true", "true", "false"} {
		if !outcomes[want] {
			t.Errorf("got outcomes %v, want also %q", outcomes, want)
		}
	}
	sync(".")
	for range 8 {
		if got := fmt.Sprintf("%s %s %s", cut("old"), cut("removed"), cut("new")); got != "new  " {
			t.Fatalf("got %q after the sync of the folder, want the new names", got)
		}
	}
	sync("folder")
	if cut("folder/unsynced") == nil {
		t.Fatal("a file is missing after the sync of its folder")
	}
}

// cutter returns a function that cuts the power and returns the content of a file, or nil if it is missing.
func cutter(t *testing.T, f *faultfs.FS) func(name string) []byte {
	seed := uint64(0)
	return func(name string) []byte {
		t.Helper()
		seed++
		folder := filepath.Join(t.TempDir(), "cut")
		f.PowerCut(folder, seed)
		content, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		noError(t, err)
		return content
	}
}

// Memory maps and locks work as on the disk.
func TestNew_MapsAndLocksPassThrough(t *testing.T) {
	f := faultfs.New(t, faultfs.Options{})
	path := filepath.Join(f.Path(), "file")
	noError(t, os.WriteFile(path, []byte("text"), 0o600))
	var files [2]*os.File
	for i := range files {
		var err error
		files[i], err = os.OpenFile(path, os.O_RDWR, 0)
		noError(t, err)
		defer files[i].Close()
	}
	mapped, err := unix.Mmap(int(files[0].Fd()), 0, 4, unix.PROT_READ, unix.MAP_SHARED)
	noError(t, err)
	_, err = files[1].WriteAt([]byte("n"), 0)
	noError(t, err)
	if string(mapped) != "next" {
		t.Fatalf("got %q in the map, want the new text", mapped)
	}
	noError(t, unix.Munmap(mapped))
	noError(t, unix.Flock(int(files[0].Fd()), unix.LOCK_EX|unix.LOCK_NB))
	wantErrno(t, unix.Flock(int(files[1].Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	noError(t, unix.FcntlFlock(files[0].Fd(), unix.F_OFD_SETLK, &lock))
	wantErrno(t, unix.FcntlFlock(files[1].Fd(), unix.F_OFD_SETLK, &lock), unix.EAGAIN)
}
