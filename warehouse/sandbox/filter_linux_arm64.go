package sandbox

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_AARCH64

// olderCalls are allowed calls that later architectures do not have, such as this one.
var olderCalls []int
