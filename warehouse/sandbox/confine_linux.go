package sandbox

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

// processAttributes make the kernel kill a child when its parent ends, and put it into a process group of its own.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Supported returns nil if the kernel has every protection that [Confine] requires, else an error that wraps [ErrUnsupported].
func Supported() error {
	if landlockVersion() < 1 {
		return fmt.Errorf("%w: no Landlock (needs Linux 5.13 or later, with landlock in its lsm= list)", ErrUnsupported)
	}
	return nil
}

// landlockVersion returns the version of the kernel's Landlock ABI, 0 if it has none. Tests replace it.
var landlockVersion = func() int {
	version, err := landlockcalls.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return version
}

const (
	// runtimeMemory is the memory of a child beyond its own limit, in bytes: the Go runtime, stacks, and what DuckDB does not count.
	runtimeMemory = 512 << 20
	// runtimeAddresses is the address space of a child beyond its limit, in bytes. It is reserved far ahead of its use.
	runtimeAddresses = 8 << 30
	maxOpenFiles     = 8192
	// Niceness is the scheduling priority of a child with limits. Its parent is served first.
	Niceness = 5
	// oomScore makes the kernel choose the child first if memory is short.
	oomScore = "1000"
)

// LimitMemory limits the memory of this process to the given bytes and a fixed allowance for its runtime, forbids it to write files
// and core dumps, and lowers its priority. The number of processes needs no limit of its own: the seccomp filter refuses to create one.
func LimitMemory(bytes int64) error {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0) // if refused, the parent is as likely to be chosen
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, Niceness); err != nil {
		return fmt.Errorf("lower the priority: %w", err)
	}
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_DATA:   uint64(bytes + runtimeMemory),
		unix.RLIMIT_AS:     uint64(bytes + runtimeAddresses),
		unix.RLIMIT_FSIZE:  0,
		unix.RLIMIT_NOFILE: maxOpenFiles,
		unix.RLIMIT_CORE:   0,
	} {
		if raceDetector && (resource == unix.RLIMIT_DATA || resource == unix.RLIMIT_AS) {
			continue
		}
		if err := setLimit(resource, limit); err != nil {
			return err
		}
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// LimitCPU limits the processor time that this process uses from now on. Time used before does not count: a child may have waited for
// weeks, and the Go runtime is never quite idle. The kernel ends a process above the limit with SIGXCPU.
func LimitCPU(limit time.Duration) error {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("read the processor time: %w", err)
	}
	used := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return setLimit(unix.RLIMIT_CPU, uint64((used+limit)/time.Second)+1)
}

// setLimit lowers the soft and hard limit of a resource. It never raises one.
func setLimit(resource int, limit uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(resource, &now); err != nil {
		return fmt.Errorf("read resource limit %d: %w", resource, err)
	}
	limit = min(limit, now.Max)
	if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: limit, Max: limit}); err != nil {
		return fmt.Errorf("set resource limit %d: %w", resource, err)
	}
	return nil
}

// Confine restricts every thread of this process, including those that are started later, to what the policy allows, and returns the
// protections that are active. It fails with [ErrUnsupported] if the kernel lacks one, unless the policy allows that.
func Confine(policy Policy) (Protections, error) {
	var active Protections
	if err := Supported(); err != nil && !policy.AllowUnsupported {
		return active, err
	} else if err == nil {
		if err := restrictFiles(policy.ReadFiles); err != nil {
			return active, err
		}
		active.Landlock = landlockVersion()
	}
	if err := filterCalls(); err != nil {
		return active, err
	}
	active.Seccomp = true
	return active, nil
}

// restrictFiles makes Landlock refuse every file but the given descriptors' files, which can be opened for reading.
func restrictFiles(files []int) error {
	paths := make([]string, len(files))
	for i, fd := range files {
		paths[i] = fmt.Sprintf("/proc/self/fd/%d", fd)
	}
	// As much as the kernel supports: TCP from version 4 on, signals and abstract sockets from version 6 on.
	if err := landlock.V8.BestEffort().Restrict(landlock.PathAccess(landlockcalls.AccessFSReadFile, paths...)); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	return nil
}

// filterCalls makes the kernel refuse deniedCalls to every thread.
func filterCalls() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	filter := callFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 || thread != 0 {
		return fmt.Errorf("install the seccomp filter: %w (thread %d)", errno, thread)
	}
	return nil
}
