package sandbox

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

// olderCalls are allowed calls that only older architectures have. This architecture has none of them.
var olderCalls []int
