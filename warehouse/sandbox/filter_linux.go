package sandbox

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// rule allows a system call. Every call without a rule fails with EPERM.
type rule struct {
	call uint32
	when []arguments // alternatives; the arguments must satisfy one of them; empty: any arguments
}

// arguments are conditions on the arguments of a call. All conditions must hold.
type arguments []condition

// A condition holds if the bitwise AND of the argument and the mask equals the value. The kernel passes 64 bits of each
// argument. If the argument is an int, it uses only the lower 32 bits, and the upper bits may hold anything. So a
// condition on an int must mask them out.
type condition struct {
	argument    uint32 // from 0 on
	mask, value uint64
}

const lower = 1<<32 - 1

// is holds if an argument has the value in all of its 64 bits.
func is(argument uint32, value uint64) condition { return condition{argument, ^uint64(0), value} }

// isInt holds if an argument of the C type int or unsigned int has the value.
func isInt(argument uint32, value uint32) condition {
	return condition{argument, lower, uint64(value)}
}

// only holds if an argument has no bits but the given ones.
func only(argument uint32, bits uint64) condition { return condition{argument, ^bits, 0} }

// anyInt has an alternative for each of the values.
func anyInt(argument uint32, values ...uint32) (all []arguments) {
	for _, value := range values {
		all = append(all, arguments{isInt(argument, value)})
	}
	return all
}

// Flags of clone(2): a thread of this process must have the first, may have the second, and has no others.
const (
	threadFlags         = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD
	optionalThreadFlags = unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_SETTID |
		unix.CLONE_CHILD_CLEARTID | unix.CLONE_DETACHED
)

// Values that golang.org/x/sys/unix does not name.
const (
	futexWait, futexWake, futexWaitBitset, futexWakeBitset = 0, 1, 9, 10
	futexFlags                                             = 128 | 256 // private, realtime
	guardInstall, guardRemove                              = 102, 103
)

// rules returns the system calls that a confined process needs: to compute with several threads, to read and write the
// descriptors that it has, and to end. None takes a path, so that no file can be opened or looked at, and none creates
// or reaches another process. The process id is that of this process.
func rules(process uint32) []rule {
	call := func(number int, alternatives ...arguments) rule { return rule{uint32(number), alternatives} }
	all := []rule{
		// Descriptors.
		call(unix.SYS_READ), call(unix.SYS_PREAD64), call(unix.SYS_WRITE), call(unix.SYS_WRITEV), call(unix.SYS_LSEEK),
		call(unix.SYS_FSTAT), call(unix.SYS_CLOSE),
		call(unix.SYS_FCNTL, anyInt(1, unix.F_GETFD, unix.F_GETFL, unix.F_DUPFD_CLOEXEC)...),
		call(unix.SYS_EPOLL_CREATE1), call(unix.SYS_EPOLL_CTL), call(unix.SYS_EPOLL_PWAIT), call(unix.SYS_EVENTFD2),
		// Memory. No page can be executable.
		call(unix.SYS_MUNMAP), call(unix.SYS_MREMAP), call(unix.SYS_BRK),
		call(unix.SYS_MMAP, arguments{only(2, unix.PROT_READ|unix.PROT_WRITE)}),
		call(unix.SYS_MPROTECT, arguments{only(2, unix.PROT_READ|unix.PROT_WRITE)}),
		call(unix.SYS_MADVISE, anyInt(2, unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE,
			unix.MADV_COLLAPSE, guardInstall, guardRemove)...),
		// Threads of this process.
		call(unix.SYS_FUTEX, futexOperations()...),
		call(unix.SYS_CLONE, arguments{{0, ^uint64(optionalThreadFlags), threadFlags}}),
		call(unix.SYS_SET_ROBUST_LIST), call(unix.SYS_RSEQ), call(unix.SYS_SCHED_YIELD),
		call(unix.SYS_SCHED_GETAFFINITY, arguments{isInt(0, 0)}),
		call(unix.SYS_GETPID), call(unix.SYS_GETTID), call(unix.SYS_EXIT), call(unix.SYS_EXIT_GROUP),
		// Signals, to threads of this process alone.
		call(unix.SYS_TGKILL, arguments{isInt(0, process)}),
		call(unix.SYS_RT_SIGACTION), call(unix.SYS_RT_SIGPROCMASK), call(unix.SYS_RT_SIGRETURN), call(unix.SYS_SIGALTSTACK),
		call(unix.SYS_RESTART_SYSCALL),
		// Time, chance and limits.
		call(unix.SYS_NANOSLEEP), call(unix.SYS_CLOCK_NANOSLEEP), call(unix.SYS_CLOCK_GETTIME), call(unix.SYS_GETTIMEOFDAY),
		call(unix.SYS_GETRANDOM),
		call(unix.SYS_PRLIMIT64, arguments{isInt(0, 0), is(2, 0)}), // reads a limit of this process
	}
	for _, number := range olderCalls {
		all = append(all, call(number))
	}
	return all
}

// futexOperations returns the operations that mutexes, condition variables and the Go runtime use. Requeueing and
// priority inheritance, where the kernel has had the most defects, are not among them.
func futexOperations() (all []arguments) {
	for _, operation := range []uint64{futexWait, futexWake, futexWaitBitset, futexWakeBitset} {
		all = append(all, arguments{{1, lower &^ futexFlags, operation}})
	}
	return all
}

// Offsets in struct seccomp_data, which the kernel passes to a filter: the number of the call, the architecture, the
// first argument.
const (
	callOffset, architectureOffset, argumentsOffset = 0, 4, 16
	// x32 is the lowest number of a call in the second table that x86-64 has.
	x32 = 0x4000_0000
)

// filter returns a program that the kernel runs for each system call. Each rule ends with a verdict, so that no
// argument of a call is ever compared with the number of another: a program that goes on to the next rule when a
// condition fails has to load the number again.
func filter(rules []rule) []bpf.Instruction {
	load := func(offset uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: offset, Size: 4} }
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	deny := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	absent := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
	kill := bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}
	program := []bpf.Instruction{
		load(architectureOffset),
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: architecture, SkipTrue: 1}, kill,
		load(callOffset),
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1}, kill,
		// A filter cannot see the flags of clone3. The C library uses clone if the kernel does not have it.
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE3, SkipTrue: 1}, absent,
	}
	for _, r := range rules {
		var verdict []bpf.Instruction
		for _, alternative := range r.when {
			verdict = append(verdict, alternative.check(load, allow)...)
		}
		if len(r.when) == 0 {
			verdict = []bpf.Instruction{allow}
		} else {
			verdict = append(verdict, deny)
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: r.call, SkipTrue: uint8(len(verdict))})
		program = append(program, verdict...)
	}
	return append(program, deny)
}

// check returns instructions that return the verdict if all conditions hold. Otherwise the program continues after
// them.
func (a arguments) check(load func(uint32) bpf.Instruction, verdict bpf.Instruction) []bpf.Instruction {
	var compare [][]bpf.Instruction // for each half of each argument: load, mask
	var values []uint32             // what the result must be
	for _, c := range a {
		for half := range uint32(2) { // lower, upper: both architectures are little endian
			mask, value := uint32(c.mask>>(32*half)), uint32(c.value>>(32*half))
			if mask == 0 {
				continue
			}
			compare = append(compare, []bpf.Instruction{
				load(argumentsOffset + 8*c.argument + 4*half),
				bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
			})
			values = append(values, value)
		}
	}
	program := []bpf.Instruction{verdict}
	for i := len(compare) - 1; i >= 0; i-- {
		leave := bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: values[i], SkipTrue: uint8(len(program))}
		program = append(append(compare[i], leave), program...)
	}
	return program
}

// filterCalls makes the kernel apply the filter to every thread of this process.
func filterCalls() error {
	raw, err := bpf.Assemble(filter(rules(uint32(os.Getpid()))))
	if err != nil {
		return fmt.Errorf("assemble the seccomp filter: %w", err)
	}
	instructions := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		instructions[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(instructions)), Filter: &instructions[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("install the seccomp filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("install the seccomp filter: thread %d has another one", thread)
	}
	return nil
}
