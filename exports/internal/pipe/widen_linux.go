package pipe

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is the most that everybody may have. In one of the usual 64 KiB, whoever writes results would wait for whoever reads them, again and again.
const pipeSize = 1 << 20

// Widen makes room in a pipe. Where that is refused, it is only slower.
func Widen(pipe *os.File) {
	if raw, err := pipe.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}
