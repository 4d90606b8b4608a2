package warehouse

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache removes a file from the kernel's cache, so that the next read comes from the disk. The kernel may ignore
// the request.
func dropCache(file *os.File) { _ = unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_DONTNEED) }
