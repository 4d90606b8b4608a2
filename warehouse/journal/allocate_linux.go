package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves blocks behind the end of the file without changing its size. A file system that cannot do so leaves
// the journal without its reserve.
func allocate(file *os.File, offset, length int64) {
	_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, length)
}
