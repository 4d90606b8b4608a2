package exports

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the most that everybody may have. In a pipe of the usual 64 KiB, DuckDB would wait after each small write.
const pipeSize = 1 << 20

// widen makes room in a pipe. Where that is refused, it is only slower.
func widen(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
