package sandbox

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/psx"
)

// dropPrivileges removes the supplementary groups and all capabilities from every thread of this process. It sets
// no_new_privs, so that the process cannot regain them by executing a program. It clears the dumpable flag, so that no
// process of the same user can trace this one.
func dropPrivileges() error {
	if errno := allThreads(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1); errno != 0 {
		return fmt.Errorf("set no_new_privs: %w", errno)
	}
	// Only a privileged process may drop its groups and its bounding set, so EPERM is ignored. An unprivileged process
	// cannot gain capabilities, whatever its bounding set is.
	if errno := allThreads(unix.SYS_SETGROUPS, 0, 0); errno != 0 && errno != unix.EPERM {
		return fmt.Errorf("drop the supplementary groups: %w", errno)
	}
	for capability := 0; ; capability++ {
		held, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(capability), 0, 0, 0)
		if err != nil { // after the last capability that the kernel knows
			break
		}
		if held == 0 { // the C constructor of a child dropped it before there were other threads
			continue
		}
		errno := allThreads(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(capability))
		if errno == unix.EPERM {
			break
		}
		if errno != 0 {
			return fmt.Errorf("drop capability %d from the bounding set: %w", capability, errno)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData // the kernel drops ambient capabilities with the permitted ones
	errno := allThreads(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none[0])))
	if errno != 0 {
		return fmt.Errorf("drop all capabilities: %w", errno)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("clear the dumpable flag: %w", err)
	}
	return nil
}

// allThreads makes a system call on every thread. It ends the process if the results differ.
//
//go:uintptrescapes
func allThreads(call, first, second uintptr) unix.Errno {
	_, _, errno := psx.Syscall6(call, first, second, 0, 0, 0, 0)
	return errno
}
