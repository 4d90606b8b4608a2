package sandbox

import (
	"errors"
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

// Supported returns nil if the kernel has every protection that [Confine] requires, else an error that wraps
// [ErrUnsupported].
func Supported() error {
	if landlockVersion() < 1 {
		return fmt.Errorf("%w: no Landlock (needs Linux 5.13 or later, with landlock in its lsm= list)", ErrUnsupported)
	}
	if !hasSeccomp() {
		return fmt.Errorf("%w: no seccomp filters (needs Linux 4.14 or later with CONFIG_SECCOMP_FILTER)", ErrUnsupported)
	}
	return nil
}

// Tests replace landlockVersion and hasSeccomp.
var (
	// landlockVersion returns the version of the kernel's Landlock ABI, 0 if it has none.
	landlockVersion = func() int {
		version, err := landlockcalls.LandlockGetABIVersion()
		if err != nil {
			return 0
		}
		return version
	}
	// hasSeccomp reports whether the kernel has filters of system calls that can kill a process.
	hasSeccomp = func() bool {
		action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
		return errno == 0
	}
)

const (
	// runtimeMemory is the memory of a child beyond its own limit, in bytes: the Go runtime, stacks, and memory that
	// DuckDB does not count.
	runtimeMemory = 512 << 20
	// runtimeAddresses is the address space of a child beyond its limit, in bytes. It is reserved far ahead of its use.
	runtimeAddresses = 8 << 30
	maxOpenFiles     = 8192
	// Niceness is the scheduling priority of a child with limits. Its parent is served first.
	Niceness = 5
	// oomScore makes the kernel choose the child first if memory is short.
	oomScore = "1000"
)

// LimitMemory limits the memory of this process to the given bytes and a fixed allowance for its runtime, forbids it to
// write files and core dumps, and lowers its priority. The number of processes needs no limit of its own: the seccomp
// filter refuses to create one.
func LimitMemory(bytes int64) error {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0) // if refused, the parent is as likely to be chosen
	// The kernel refuses the change if the parent, and so the child, has a lower priority already.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, Niceness); err != nil && !errors.Is(err, unix.EACCES) {
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
	return nil
}

// LimitCPU limits the processor time that this process uses from now on. Time used before does not count: a child may
// have waited for weeks, and the Go runtime is never quite idle. The kernel ends a process above the limit with
// SIGXCPU.
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

// Confine restricts every thread of this process, including those that are started later, and returns the protections
// that are active. It fails with [ErrUnsupported] if the kernel lacks one, unless the policy allows that: then it
// applies all others. It cannot be undone.
//
// From then on the process can compute, start threads, and read and write the descriptors that it has. It cannot open a
// file, except that DuckDB can read those of the policy, and it cannot reach the network or another process. See rules
// for the system calls.
func Confine(policy Policy) (Protections, error) {
	if err := Supported(); err != nil && !policy.AllowUnsupported {
		return Protections{}, err
	}
	if err := dropPrivileges(); err != nil {
		return Protections{}, err
	}
	active := hardening()
	active.Privileges = true
	if version := landlockVersion(); version > 0 {
		// Without rules, Landlock denies all access to files. Newer kernels also deny access to the network, to abstract
		// sockets and to other processes.
		if err := landlock.V10.BestEffort().Restrict(); err != nil {
			return active, fmt.Errorf("landlock: %w", err)
		}
		active.Landlock = version
	}
	emulateFiles(policy.ReadFiles)
	if hasSeccomp() {
		if err := filterCalls(); err != nil {
			return active, err
		}
		active.Seccomp = true
	}
	return active, nil
}
