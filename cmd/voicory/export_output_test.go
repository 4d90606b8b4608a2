package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// An output that is not a regular file is never replaced, and a link keeps its place.
func TestExport_WritesThroughDevicesFIFOsAndLinks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := &Main{Umask: 0o022}
	write := func(out io.Writer) error {
		_, err := io.WriteString(out, "rows")
		return err
	}
	t.Run("device", func(t *testing.T) {
		path := filepath.Join(dir, "null")
		if err := syscall.Mknod(path, syscall.S_IFCHR|0o600, 1<<8|3); err != nil { // the same device as /dev/null
			t.Skip("creating a device needs root:", err)
		}
		noError(t, m.writeFileAtomic(path, write))
		if info, err := os.Stat(path); err != nil || info.Mode()&os.ModeDevice == 0 {
			t.Fatalf("got %v, %v, want a device", info, err)
		}
	})
	t.Run("FIFO", func(t *testing.T) {
		path := filepath.Join(dir, "fifo")
		noError(t, syscall.Mkfifo(path, 0o600))
		read := make(chan string)
		go func() {
			content, _ := os.ReadFile(path)
			read <- string(content)
		}()
		noError(t, m.writeFileAtomic(path, write))
		if got := <-read; got != "rows" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("symbolic link", func(t *testing.T) {
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		noError(t, os.WriteFile(target, []byte("before"), 0o600))
		noError(t, os.Symlink(target, link))
		noError(t, m.writeFileAtomic(link, write))
		if got, err := os.ReadFile(target); err != nil || string(got) != "rows" {
			t.Errorf("got %q, %v", got, err)
		}
		if to, err := os.Readlink(link); err != nil || !strings.HasSuffix(to, "target") {
			t.Errorf("the link was replaced: %q, %v", to, err)
		}
	})
}
