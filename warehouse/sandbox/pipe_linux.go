package sandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the largest capacity that an unprivileged process may set by default. With the usual 64 KiB, the writer
// of a large result waits for its reader after each piece.
const pipeSize = 1 << 20

// WidenPipe raises the capacity of a pipe to 1 MiB. If the kernel refuses, the pipe keeps its capacity.
func WidenPipe(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
