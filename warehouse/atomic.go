package warehouse

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempMark is in the name of every file that is not finished yet. Such names begin with a dot, so that
// no glob for data files matches them, and start-up removes what a crash has left.
const tempMark = ".unfinished"

// writeAtomic has write make a file under a temporary name beside path, then makes it durable and gives it its
// name in one step: whoever looks sees the whole old file or the whole new one. Missing folders are made.
func writeAtomic(path string, write func(temp string) error) (err error) {
	dir := filepath.Dir(path)
	if err := mkdirDurable(dir); err != nil {
		return err
	}
	temp := filepath.Join(dir, "."+filepath.Base(path)+tempMark)
	defer func() {
		if err != nil {
			os.Remove(temp) // also swept at the next start
		}
	}()
	if err := write(temp); err != nil {
		return err
	}
	if err := syncPath(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncPath(dir)
}

// linkAtomic gives a file one more name, in place of what has it.
func linkAtomic(path, name string) error {
	temp := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+tempMark)
	if err := os.Remove(temp); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Link(path, temp); err != nil {
		return err
	}
	return os.Rename(temp, name)
}

// removeDurable removes a file. One that is not there may have been removed by a process that then crashed: its folder,
// which must exist, is synced all the same.
func removeDurable(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return syncPath(filepath.Dir(path))
}

// mkdirDurable makes dir and the folders above it, each entry synced before it is relied upon.
func mkdirDurable(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if err := mkdirDurable(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return err
	}
	return syncPath(parent)
}

// syncPath fsyncs a file or a folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// sweep removes the unfinished files below dir that a crash has left.
func sweep(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasPrefix(entry.Name(), ".") || !strings.Contains(entry.Name(), tempMark) {
			return err
		}
		return os.Remove(path)
	})
}

// emptyDir removes all that is in dir.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, entry.Name())))
	}
	return err
}
