package sandbox

import "golang.org/x/sys/unix"

// deniedCalls are those that a query has no use for and an attacker might: programs, other processes, sockets, names in file systems,
// and the parts of the kernel that were broken out of most. Landlock does not know of all of them.
var deniedCalls = append([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT,
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_KILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_SETPGID, unix.SYS_SETSID,
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_SENDTO, unix.SYS_SENDMSG,
	unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_TRUNCATE,
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT, unix.SYS_SETXATTR, unix.SYS_FSETXATTR,
	// Without this one DuckDB cannot find out what path a descriptor stands for, and so cannot show it.
	unix.SYS_READLINKAT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETRESUID, unix.SYS_PERSONALITY, unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET,
}, olderCalls...)

// Where the number of a call, the architecture and the first argument stand in what a filter sees.
const (
	atCall, atArchitecture, atFirstArgument = 0, 4, 16
	load, jumpEqual, jumpAtLeast, jumpSet   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	// otherTable is where on x86-64 the numbers of a second table of calls begin.
	otherTable = 0x4000_0000
)

// callFilter is a program that the kernel runs for each system call. New threads are let through, new processes are not; clone3, whose
// arguments a filter cannot see, is said not to be there, so that the C library falls back to clone.
func callFilter() []unix.SockFilter {
	answer := func(value uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: value} }
	deny := answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	program := []unix.SockFilter{
		{Code: load, K: atArchitecture},
		{Code: jumpEqual, K: architecture, Jt: 1},
		answer(unix.SECCOMP_RET_KILL_PROCESS),
		{Code: load, K: atCall},
		{Code: jumpAtLeast, K: otherTable, Jf: 1},
		deny,
		{Code: jumpEqual, K: unix.SYS_CLONE3, Jf: 1},
		answer(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)),
	}
	for _, call := range deniedCalls {
		program = append(program, unix.SockFilter{Code: jumpEqual, K: call, Jf: 1}, deny)
	}
	return append(program,
		unix.SockFilter{Code: jumpEqual, K: unix.SYS_CLONE, Jf: 3},
		unix.SockFilter{Code: load, K: atFirstArgument},
		unix.SockFilter{Code: jumpSet, K: unix.CLONE_THREAD, Jt: 1},
		deny,
		answer(unix.SECCOMP_RET_ALLOW))
}
