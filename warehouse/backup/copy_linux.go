package backup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// linkFile creates a hard link to an open file. It fails if the file is on another file system.
func linkFile(file *os.File, path string) error {
	open := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	return unix.Linkat(unix.AT_FDCWD, open, unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

// dropCache removes a synced file from the cache of the system, so that it is read from the disk.
func dropCache(file *os.File) { _ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) }
