package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Mark is part of every temporary name. These names begin with a dot, so that no glob for data files matches them.
const Mark = ".unfinished"

const (
	maxBase   = 200 // bytes of the name in a temporary name: file systems allow 255 in all
	randomLen = 13  // characters with five random bits each
)

// TempName returns a new temporary name in the folder of name. It contains the first bytes of the last part of name.
func TempName(name string) string {
	base := filepath.Base(name)
	base = strings.ToValidUTF8(base[:min(len(base), maxBase)], "")
	return filepath.Join(filepath.Dir(name), "."+base+Mark+"-"+rand.Text()[:randomLen])
}

// IsTemp reports whether base, the last part of a path, is a temporary name. A file with such a name remains only after
// a crash.
func IsTemp(base string) bool {
	return strings.HasPrefix(base, ".") && strings.Contains(base, Mark)
}

// Replace calls create with a temporary name, at which create has to create a file or a folder with its final mode.
// Replace syncs the new file or folder, renames it to name and syncs the folder that contains it. A file can replace a
// file, and a folder can replace an empty folder. After an error, Replace removes the temporary name. Names are
// relative to root. Replace syncs a folder itself, but not the files in it.
func Replace(root *os.Root, name string, create func(temp string) error) (err error) {
	temp := TempName(name)
	defer func() {
		if err != nil {
			err = errors.Join(err, root.RemoveAll(temp))
		}
	}()
	if err := create(temp); err != nil {
		return err
	}
	if err := Sync(root, temp); err != nil {
		return err
	}
	if err := root.Rename(temp, name); err != nil {
		return err
	}
	return Sync(root, filepath.Dir(name))
}

// WriteFile replaces the file with the content. The umask of the process applies to its mode.
func WriteFile(root *os.Root, name string, content []byte, mode fs.FileMode) error {
	return Replace(root, name, func(temp string) error { return root.WriteFile(temp, content, mode) })
}

// Sync flushes a file or the entries of a folder to the disk.
func Sync(root *os.Root, name string) error {
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// MkdirAll creates a folder and the folders above it, and makes their names durable. It syncs all of them, because a
// process that created some may have ended before it synced them. Of those that exist, it leaves out the ones that this
// process must not read or whose file system cannot sync folders.
func MkdirAll(path string, mode fs.FileMode) error {
	parent := filepath.Dir(path)
	if parent == path {
		return nil
	}
	if err := MkdirAll(parent, mode); err != nil {
		return err
	}
	err := os.Mkdir(path, mode)
	existed := err != nil
	if existed {
		info, missing := os.Stat(path)
		if missing != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s: %w", path, syscall.ENOTDIR)
		}
	}
	if err = syncFolder(parent); existed && (errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) ||
		errors.Is(err, errors.ErrUnsupported)) {
		return nil
	}
	return err
}

func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
