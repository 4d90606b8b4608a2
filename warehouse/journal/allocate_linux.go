package journal

import (
	"os"

	"golang.org/x/sys/unix"
)

// allocate reserves blocks behind the end of the file without changing its size. If the file system cannot reserve
// blocks, the journal has no reserve.
func allocate(file *os.File, offset, length int64) {
	_ = unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, offset, length)
}
