package ingest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

// tree creates empty files below dir, and symbolic links for names of the form "link -> target".
func tree(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		name, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if isLink {
			err = errors.Join(err, os.Symlink(target, path))
		} else {
			err = errors.Join(err, os.WriteFile(path, nil, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestFind_FoldersAndFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree(t, dir, "in/b/calls.ndjson", "in/a.csv", "in/README.md", "in/LICENSE", "in/.hidden", "in/.git/x.csv",
		"in/b/_SUCCESS",
		"in/notes.xlsx", "out/x.csv", "in/to-file.csv -> ../out/x.csv", "in/to-folder -> ../out", "in/loop -> ../in",
		"in/nothing -> x")
	fifo := filepath.Join(dir, "in/fifo.csv")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "in/socket.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	found, skipped, err := Find([]string{filepath.Join(dir, "in"), Stdin, filepath.Join(dir, "in/README.md"), fifo})
	if err != nil {
		t.Fatal(err)
	}
	var paths, reasons []string
	for _, f := range found {
		paths = append(paths, strings.TrimPrefix(f.Path, dir+"/in/"))
	}
	for _, s := range skipped {
		reasons = append(reasons, strings.TrimPrefix(s.Path, dir+"/in/")+" "+s.Reason)
	}
	want := "a.csv b/calls.ndjson notes.xlsx to-file.csv to-folder/x.csv - README.md fifo.csv"
	if got := strings.Join(paths, " "); got != want {
		t.Errorf("got files %s, want %s", got, want)
	}
	want = "fifo.csv it is a FIFO, not a file; nothing the target of the symbolic link does not exist; " +
		"socket.csv it is a socket, not a file"
	if got := strings.Join(reasons, "; "); got != want {
		t.Errorf("got skipped entries %s, want %s", got, want)
	}
	if _, _, err := Find([]string{filepath.Join(dir, "missing")}); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("got %v, want %v", err, warehouse.ErrNotFound)
	}
}
