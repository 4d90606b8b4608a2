package sandbox

import "golang.org/x/sys/unix"

const architecture = unix.AUDIT_ARCH_X86_64

// olderCalls are allowed calls that only older architectures such as this one have.
var olderCalls = []int{unix.SYS_TIME}
