package query

import (
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/landlock-lsm/go-landlock/landlock"
	landlockcalls "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// processAttributes have the kernel end a worker with the server, and keep it out of the server's process group.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// KernelLocksIn tells whether the kernel can lock a worker in: whether it has Landlock, and lets it be used.
func KernelLocksIn() error {
	version, err := landlockcalls.LandlockGetABIVersion()
	if err != nil || version < 1 {
		return fmt.Errorf("%w: the kernel has no Landlock (Linux 5.13 or later, with landlock among its lsm=)", ErrUnavailable)
	}
	return nil
}

const (
	// What the process may take beside what DuckDB says it takes: the Go runtime, stacks, and what DuckDB does not count.
	besideMemory = 512 << 20
	// Addresses are taken far ahead of memory.
	besideAddresses = 8 << 30
	maxOpenFiles    = 8192
	// A worker is less urgent than the server, and the first to go where memory is short.
	niceness  = 5
	oomAdjust = "1000"
)

// bound limits what the process may take. The number of processes has no bound of its own, since the kernel counts those of a user and
// not of a process; the filter of system calls lets none be made.
func bound(memory int64) error {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomAdjust), 0) // where it may not be written, the server is as likely to go
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, niceness); err != nil {
		return fmt.Errorf("nice: %w", err)
	}
	for resource, most := range map[int]uint64{
		unix.RLIMIT_DATA:   uint64(memory + besideMemory),
		unix.RLIMIT_AS:     uint64(memory + besideAddresses),
		unix.RLIMIT_FSIZE:  0,
		unix.RLIMIT_NOFILE: maxOpenFiles,
		unix.RLIMIT_CORE:   0,
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
		if raceDetector && (resource == unix.RLIMIT_DATA || resource == unix.RLIMIT_AS) {
			continue
		}
		most = min(most, now.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("limit %d: %w", resource, err)
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// boundTime limits the processor time from now on: a spare worker may have waited for weeks, and the Go runtime never quite sleeps.
func boundTime(cpu time.Duration) error {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		return fmt.Errorf("time used: %w", err)
	}
	so := time.Duration(used.Utime.Nano() + used.Stime.Nano())
	most := uint64((so+cpu)/time.Second) + 1
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CPU, &now); err != nil {
		return fmt.Errorf("limit of time: %w", err)
	}
	most = min(most, now.Max)
	if err := unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("limit of time: %w", err)
	}
	return nil
}

// lockIn leaves the files alone to be read, by any thread, and takes away what a program needs to reach others. It cannot be undone.
// Without the sandbox files stay within reach, and what a program needs to reach others goes all the same.
func lockIn(files []int, unsandboxed bool) error {
	if !unsandboxed {
		if err := leaveFiles(files); err != nil {
			return err
		}
	}
	return filterCalls()
}

// leaveFiles has Landlock leave the files alone to be read.
func leaveFiles(files []int) error {
	paths := make([]string, len(files))
	for i, fd := range files {
		paths[i] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	// As much as the kernel can: from version 4 on it closes TCP, and from 6 on it keeps signals in. The filter does so too.
	if err := landlock.V8.BestEffort().Restrict(landlock.PathAccess(landlockcalls.AccessFSReadFile, paths...)); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// filterCalls has the kernel refuse deniedCalls to every thread.
func filterCalls() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	filter := callFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 || thread != 0 {
		return fmt.Errorf("filter system calls: %w (thread %d)", errno, thread)
	}
	return nil
}
