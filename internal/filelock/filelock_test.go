package filelock_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/internal/filelock"
)

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Close releases the lock while a copy of the descriptor is open, as in a child process that is being started.
func TestClose_UnlocksWhileAChildHasTheDescriptor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := os.Create(path)
	noError(t, err)
	second, err := os.Open(path)
	noError(t, err)
	noError(t, filelock.TryLock(first))
	child, err := syscall.Dup(int(first.Fd()))
	noError(t, err)
	defer func() { noError(t, syscall.Close(child)) }()
	if err := filelock.TryLock(second); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("got %v while the first file has the lock, want %v", err, syscall.EWOULDBLOCK)
	}
	noError(t, filelock.Close(first))
	noError(t, filelock.TryLock(second))
	noError(t, filelock.Close(second))
}
