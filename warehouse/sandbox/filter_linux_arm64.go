package sandbox

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

// olderCalls are calls that later architectures do without, such as this one.
var olderCalls []uint32
