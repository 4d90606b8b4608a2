//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	duckdb "github.com/duckdb/duckdb-go-bindings"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain runs a part of a child process if the first argument names one.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		if part, ok := parts[os.Args[1]]; ok {
			os.Exit(runPart(part, os.Args[2]))
		}
	}
	goleak.VerifyTestMain(m)
}

// parts are run in child processes. Each confines its process with the function it is given, and returns what it
// reports to the test.
var parts = map[string]func(confine func(Policy) error) any{
	"calls":       everyCall,
	"attempts":    attempts,
	"protections": waitConfined,
	"descriptors": descriptors,
	"limits":      limits,
	"duckdb":      readFiles,
	"landlock":    reachOutside,
}

// modes are the kernels that the parts run on: the real one, and the same without some of its protections.
var modes = map[string]func(){
	"all":              func() {},
	"without landlock": func() { landlockVersion = func() int { return 0 } },
	"without seccomp":  func() { hasSeccomp = func() bool { return false } },
}

func runPart(part func(func(Policy) error) any, mode string) int {
	modes[mode]()
	report := json.NewEncoder(os.NewFile(FirstOutput, "report"))
	result := part(func(p Policy) error {
		p.AllowUnsupported = mode != "all"
		_, err := Confine(p)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return err
	})
	if report.Encode(result) != nil {
		return 1
	}
	return 0
}

// start starts a part of this test binary.
func start(t *testing.T, part, mode string, files ...*os.File) *Process {
	t.Helper()
	if err := Supported(); err != nil && mode == "all" {
		t.Skip(err)
	}
	p, err := Start(Command{Args: []string{"/proc/self/exe", part, mode}, Outputs: 1, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// report decodes what a child reports.
func report(t *testing.T, p *Process, result any) {
	t.Helper()
	if err := json.NewDecoder(p.Outputs[0]).Decode(result); err != nil {
		p.Input.Close()
		t.Fatalf("no report: %v, %v: %s", err, p.Wait(), p.Stderr())
	}
}

// address returns the address of memory that the caller keeps alive.
func address(memory []byte) uintptr { return uintptr(unsafe.Pointer(&memory[0])) }

// attempts returns the error of each action that a confined process must not be able to do.
func attempts(confine func(Policy) error) any {
	parent, self := os.Getppid(), os.Getpid()
	name, empty := []byte("/etc/passwd\x00"), []byte{0}
	path, nothing := address(name), address(empty)
	var buffer [512]byte
	into := address(buffer[:])
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil || confine(Policy{}) != nil {
		return err
	}
	const cwd = ^uintptr(99) // AT_FDCWD
	const garbage = uintptr(1) << 32
	length := uintptr(len(page))
	memory := address(page)
	results := map[string]int{}
	attempt := func(name string, call uintptr, arguments ...uintptr) {
		a := [6]uintptr{}
		copy(a[:], arguments)
		_, _, errno := syscall.RawSyscall6(call, a[0], a[1], a[2], a[3], a[4], a[5])
		results[name] = int(errno)
	}
	attempt("openat read", unix.SYS_OPENAT, cwd, path, unix.O_RDONLY)
	attempt("openat write", unix.SYS_OPENAT, cwd, path, unix.O_WRONLY)
	attempt("openat create", unix.SYS_OPENAT, cwd, path, unix.O_RDWR|unix.O_CREAT)
	attempt("newfstatat path", unix.SYS_NEWFSTATAT, cwd, path, into, 0)
	attempt("newfstatat descriptor", unix.SYS_NEWFSTATAT, 0, nothing, into, unix.AT_EMPTY_PATH)
	attempt("statx", unix.SYS_STATX, cwd, path, 0, unix.STATX_ALL, into)
	attempt("faccessat", unix.SYS_FACCESSAT, cwd, path, 0)
	attempt("readlinkat", unix.SYS_READLINKAT, cwd, path, into, 100)
	attempt("getdents64", unix.SYS_GETDENTS64, 0, into, 512)
	attempt("socket unix", unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	attempt("socket netlink", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW, 0)
	attempt("execve", unix.SYS_EXECVE, path, 0, 0)
	attempt("fork", unix.SYS_CLONE, uintptr(unix.SIGCHLD))
	attempt("thread in a namespace", unix.SYS_CLONE, threadFlags|unix.CLONE_NEWUSER)
	attempt("process that shares memory", unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_VFORK|uintptr(unix.SIGCHLD))
	attempt("thread that is traced", unix.SYS_CLONE, threadFlags|unix.CLONE_PTRACE)
	attempt("thread with high bits", unix.SYS_CLONE, threadFlags|garbage)
	attempt("clone3", unix.SYS_CLONE3, into, 88)
	attempt("kill parent", unix.SYS_KILL, uintptr(parent), 0)
	attempt("tkill parent", unix.SYS_TKILL, uintptr(parent), 0)
	attempt("tgkill parent", unix.SYS_TGKILL, uintptr(parent), uintptr(parent), 0)
	attempt("tgkill self", unix.SYS_TGKILL, uintptr(self), uintptr(unix.Gettid()), 0)
	attempt("tgkill self with high bits", unix.SYS_TGKILL, uintptr(self)|garbage, uintptr(unix.Gettid()), 0)
	attempt("rt_sigqueueinfo parent", unix.SYS_RT_SIGQUEUEINFO, uintptr(parent), 0, into)
	attempt("prlimit64 of parent", unix.SYS_PRLIMIT64, uintptr(parent), unix.RLIMIT_NOFILE, 0, into)
	attempt("prlimit64 of process 1", unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE, into, 0)
	attempt("prlimit64 sets", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, into, 0)
	attempt("prlimit64 sets at a high address", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, garbage, 0)
	attempt("prlimit64 reads", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, 0, into)
	attempt("prlimit64 reads with high bits", unix.SYS_PRLIMIT64, garbage, unix.RLIMIT_NOFILE, 0, into)
	attempt("prctl dumpable", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 1)
	attempt("prctl name", unix.SYS_PRCTL, unix.PR_SET_NAME, path)
	const private = unix.MAP_PRIVATE | unix.MAP_ANON
	attempt("mmap executable", unix.SYS_MMAP, 0, length, unix.PROT_READ|unix.PROT_EXEC, private, ^uintptr(0), 0)
	attempt("mmap", unix.SYS_MMAP, 0, length, unix.PROT_READ|unix.PROT_WRITE, private, ^uintptr(0), 0)
	attempt("mprotect executable", unix.SYS_MPROTECT, memory, length, unix.PROT_READ|unix.PROT_EXEC)
	attempt("mprotect grows down", unix.SYS_MPROTECT, memory, length, unix.PROT_READ|unix.PROT_GROWSDOWN)
	attempt("mprotect", unix.SYS_MPROTECT, memory, length, unix.PROT_READ)
	attempt("pkey_mprotect", unix.SYS_PKEY_MPROTECT, memory, length, unix.PROT_READ|unix.PROT_EXEC, ^uintptr(0))
	attempt("madvise does not dump", unix.SYS_MADVISE, memory, length, unix.MADV_DONTDUMP)
	attempt("madvise", unix.SYS_MADVISE, memory, length, unix.MADV_DONTNEED)
	attempt("ioctl TIOCSTI", unix.SYS_IOCTL, 0, unix.TIOCSTI, into)
	attempt("fcntl F_SETOWN", unix.SYS_FCNTL, 0, unix.F_SETOWN, uintptr(parent))
	attempt("fcntl F_SETFL", unix.SYS_FCNTL, 0, unix.F_SETFL, unix.O_ASYNC)
	attempt("fcntl F_SETPIPE_SZ", unix.SYS_FCNTL, 0, unix.F_SETPIPE_SZ, 1<<20)
	attempt("fcntl F_GETFL", unix.SYS_FCNTL, 0, unix.F_GETFL)
	attempt("fcntl F_GETFL with high bits", unix.SYS_FCNTL, 0, unix.F_GETFL|garbage)
	attempt("futex of priority inheritance", unix.SYS_FUTEX, into, 8) // FUTEX_TRYLOCK_PI
	attempt("futex wakes", unix.SYS_FUTEX, memory, futexWake|128, 1)
	attempt("sched_getaffinity of parent", unix.SYS_SCHED_GETAFFINITY, uintptr(parent), 512, into)
	attempt("setpriority", unix.SYS_SETPRIORITY, 0, 0, 0)
	attempt("memfd_create", unix.SYS_MEMFD_CREATE, path, 0)
	attempt("io_uring_setup", unix.SYS_IO_URING_SETUP, 1, into)
	attempt("uname", unix.SYS_UNAME, into)
	runtime.KeepAlive([]any{name, empty, &buffer, page})
	return results
}

func TestConfine_ChecksArguments(t *testing.T) {
	allowed := []string{"tgkill self", "tgkill self with high bits", "prlimit64 reads", "prlimit64 reads with high bits",
		"mmap", "mprotect", "madvise", "fcntl F_GETFL", "fcntl F_GETFL with high bits", "futex wakes"}
	for _, mode := range []string{"all", "without landlock"} {
		t.Run(mode, func(t *testing.T) {
			var got map[string]int
			report(t, start(t, "attempts", mode), &got)
			if len(got) < 50 {
				t.Errorf("got %d attempts", len(got))
			}
			for name, errno := range got {
				want := int(syscall.EPERM)
				if slices.Contains(allowed, name) {
					want = 0
				} else if name == "clone3" {
					want = int(syscall.ENOSYS)
				}
				if errno != want {
					t.Errorf("%s: got %v, want %v", name, syscall.Errno(errno), syscall.Errno(want))
				}
			}
		})
	}
}

// lastCall is above the number of every system call there is.
const lastCall = 600

// everyCall makes every system call with arguments that do nothing, and returns those that were not refused.
func everyCall(confine func(Policy) error) any {
	if err := confine(Policy{}); err != nil {
		return err
	}
	passed := []int{}
	for call := range lastCall + 1 {
		if slices.Contains(unfiltered, call) {
			continue
		}
		switch call {
		case unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_RT_SIGRETURN: // the process needs them, but they do not return
			passed = append(passed, call)
			continue
		}
		const none = ^uintptr(0)
		_, _, errno := syscall.RawSyscall6(uintptr(call), none, none, none, none, none, none)
		if errno != syscall.EPERM {
			passed = append(passed, call)
		}
	}
	return passed
}

// unconditional are the system calls that are allowed with any arguments. The list is written out once more, so that a
// change of the rules has to be made twice.
var unconditional = []int{
	unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_CLOSE,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	unix.SYS_MUNMAP, unix.SYS_MREMAP, unix.SYS_BRK, unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_SCHED_YIELD,
	unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM,
}

func TestConfine_AllowsOnlyListedCalls(t *testing.T) {
	want := append(slices.Clone(unconditional), unix.SYS_CLONE3) // which fails with ENOSYS
	want = append(want, olderCalls...)
	slices.Sort(want)
	for _, mode := range []string{"all", "without landlock"} {
		t.Run(mode, func(t *testing.T) {
			var got []int
			report(t, start(t, "calls", mode), &got)
			if !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// waitConfined confines a process with several threads, some of them started before and some after, and waits for the
// end of its input.
func waitConfined(confine func(Policy) error) any {
	if os.Getuid() == 0 {
		if err := unix.Setgroups([]int{100}); err != nil {
			return err
		}
	}
	stay := make(chan struct{})
	thread := func() {
		ready := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(ready)
			<-stay
		}()
		<-ready
	}
	for range 4 {
		thread()
	}
	connection, err := openDuckDB()
	if err != nil {
		return err
	}
	if err := confine(Policy{}); err != nil {
		return err
	}
	for range 4 {
		thread()
	}
	_, _ = number(connection, "SELECT count(*) FROM range(1000000) WHERE range % 3 = 0") // starts DuckDB's threads
	if err := json.NewEncoder(os.NewFile(FirstOutput, "report")).Encode("confined"); err != nil {
		return err
	}
	_, _ = os.Stdin.Read(make([]byte, 1))
	return "done"
}

func TestConfine_EveryThreadHasNoPrivileges(t *testing.T) {
	for mode, seccomp := range map[string]string{"all": "2", "without landlock": "2", "without seccomp": "0"} {
		t.Run(mode, func(t *testing.T) {
			p := start(t, "protections", mode)
			var word string
			report(t, p, &word)
			threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.PID()))
			if err != nil || len(threads) < 9 {
				t.Fatalf("got %d threads, %v", len(threads), err)
			}
			want := map[string]string{"CapInh": "", "CapPrm": "", "CapEff": "", "CapBnd": "", "CapAmb": "",
				"Groups": "", "NoNewPrivs": "1", "Seccomp": seccomp}
			if me, err := user.Current(); err != nil || me.Uid != "0" { // it may not drop these
				delete(want, "CapBnd")
				delete(want, "Groups")
			}
			for _, thread := range threads {
				text, err := os.ReadFile(thread)
				if err != nil {
					t.Fatal(err)
				}
				for name, want := range want {
					_, got, ok := strings.Cut(string(text), "\n"+name+":")
					got, _, _ = strings.Cut(got, "\n")
					if got = strings.TrimSpace(got); strings.HasPrefix(name, "Cap") {
						got = strings.TrimLeft(got, "0")
					}
					if !ok || got != want {
						t.Errorf("%s: %s: got %q, want %q", thread, name, got, want)
					}
				}
			}
		})
	}
}

// Without Landlock or seccomp a process is not confined, unless the policy allows that.
func TestConfine_FailsIfUnsupported(t *testing.T) {
	for mode, change := range modes {
		if mode == "all" {
			continue
		}
		t.Run(mode, func(t *testing.T) {
			landlock, seccomp := landlockVersion, hasSeccomp
			defer func() { landlockVersion, hasSeccomp = landlock, seccomp }()
			landlockVersion = func() int { return 7 }
			change()
			if _, err := Confine(Policy{}); err == nil || Supported() == nil {
				t.Errorf("got %v, %v, want %v", err, Supported(), ErrUnsupported)
			}
		})
	}
}

// descriptors returns what the descriptors of this process refer to, and its environment.
func descriptors(func(Policy) error) any {
	open := []string{}
	for fd := range 1024 {
		if to, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd)); err == nil {
			open = append(open, fmt.Sprintf("%d %s", fd, strings.Trim(to, "0123456789[]")))
		}
	}
	return append(open, os.Environ()...)
}

func TestStart_ChildHasOnlyItsDescriptors(t *testing.T) {
	t.Setenv("SECRET", "of the parent")
	mine, err := os.Create(filepath.Join(t.TempDir(), "passed"))
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if err := unix.Dup3(int(mine.Fd()), 200, 0); err != nil { // without O_CLOEXEC
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(200) }()
	var got []string
	report(t, start(t, "descriptors", "all", mine), &got)
	var files []string
	for _, one := range got {
		if !strings.Contains(one, "anon_inode:") && !strings.Contains(one, "/sys/fs/cgroup/") { // the Go runtime's own
			files = append(files, one)
		}
	}
	want := []string{"0 pipe:", "1 pipe:", "2 pipe:", "3 pipe:", "4 " + mine.Name(), "VOICORY_CHILD_DESCRIPTORS=5"}
	if !slices.Equal(files, want) {
		t.Errorf("got %q, want %q", files, want)
	}
}

// limits returns the limits that LimitMemory and LimitCPU set, and the nice value.
func limits(func(Policy) error) any {
	if err := LimitMemory(1 << 30); err != nil {
		return err.Error()
	}
	if err := LimitCPU(10 * time.Second); err != nil {
		return err.Error()
	}
	got := map[string]uint64{}
	resources := map[string]int{"data": unix.RLIMIT_DATA, "size": unix.RLIMIT_FSIZE, "core": unix.RLIMIT_CORE,
		"cpu": unix.RLIMIT_CPU}
	for name, resource := range resources {
		var limit unix.Rlimit
		if err := unix.Getrlimit(resource, &limit); err != nil || limit.Cur != limit.Max {
			return fmt.Sprint(limit, err)
		}
		got[name] = limit.Max
	}
	nice, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		return err.Error()
	}
	got["nice"] = uint64(20 - nice) // the kernel returns 20 less the value
	return got
}

func TestLimits_AreSetInTheKernel(t *testing.T) {
	var got map[string]uint64
	report(t, start(t, "limits", "without landlock"), &got)
	data := got["data"]
	delete(got, "data")
	if want := uint64(1<<30 + runtimeMemory); data != want && !raceDetector {
		t.Errorf("memory: got %d, want %d", data, want)
	}
	if cpu := got["cpu"]; cpu < 10 || cpu > 12 || got["size"] != 0 || got["core"] != 0 || got["nice"] != Niceness {
		t.Errorf("got %v", got)
	}
}

// reachOutside returns the errors of attempts to reach files, the network and other processes.
func reachOutside(confine func(Policy) error) any {
	parent := os.Getppid()
	if err := confine(Policy{}); err != nil {
		return err
	}
	connect := func(family int, to unix.Sockaddr) error {
		fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		return unix.Connect(fd, to)
	}
	_, err := os.ReadFile("/etc/passwd")
	results := map[string]int{}
	for name, err := range map[string]error{
		"file":            err,
		"tcp":             connect(unix.AF_INET, &unix.SockaddrInet4{Port: 1, Addr: [4]byte{127, 0, 0, 1}}),
		"signal":          unix.Kill(parent, 0),
		"abstract socket": connect(unix.AF_UNIX, &unix.SockaddrUnix{Name: abstractSocket(parent)}),
	} {
		var errno syscall.Errno
		errors.As(err, &errno)
		results[name] = int(errno)
	}
	results["dumpable"], err = unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err
	}
	return results
}

// abstractSocket returns the name of the abstract socket that a test listens on.
func abstractSocket(pid int) string { return fmt.Sprintf("@voicory-sandbox-%d", pid) }

// Landlock is a second line behind the seccomp filter, so that it is tested without the filter.
func TestConfine_LandlockAloneRefusesFilesAndScopes(t *testing.T) {
	version := landlockVersion()
	if version == 0 {
		t.Skip("no Landlock")
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", abstractSocket(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var got map[string]int
	report(t, start(t, "landlock", "without seccomp"), &got)
	if got["dumpable"] != 0 {
		t.Error("another process of the user can trace it")
	}
	for name, want := range map[string]struct {
		since int // version of the ABI
		errno syscall.Errno
	}{
		"file": {1, syscall.EACCES}, "tcp": {4, syscall.EACCES},
		"signal": {6, syscall.EPERM}, "abstract socket": {6, syscall.EPERM},
	} {
		if version >= want.since && syscall.Errno(got[name]) != want.errno {
			t.Errorf("%s: got %v, want %v", name, syscall.Errno(got[name]), want.errno)
		}
	}
}

// openDuckDB opens an in-memory database with two threads.
func openDuckDB() (connection duckdb.Connection, err error) {
	var config duckdb.Config
	var database duckdb.Database
	if duckdb.CreateConfig(&config) == duckdb.StateError ||
		duckdb.SetConfig(config, "threads", "2") == duckdb.StateError ||
		duckdb.OpenExt("", &database, config, new(string)) == duckdb.StateError ||
		duckdb.Connect(database, &connection) == duckdb.StateError {
		return connection, fmt.Errorf("DuckDB does not open")
	}
	return connection, nil
}

// number returns the one number that is the result of a statement.
func number(connection duckdb.Connection, statement string) (int64, error) {
	var result duckdb.Result
	defer duckdb.DestroyResult(&result)
	if duckdb.Query(connection, "SELECT ("+statement+")::BIGINT", &result) == duckdb.StateError {
		return 0, fmt.Errorf("%s", duckdb.ResultError(&result))
	}
	chunk := duckdb.FetchChunk(result)
	defer duckdb.DestroyDataChunk(&chunk)
	return *(*int64)(duckdb.VectorGetData(duckdb.DataChunkGetVector(chunk, 0))), nil
}

// readFiles has DuckDB read descriptor 4 in several ways when the process is confined, and returns the answers or
// errors.
func readFiles(confine func(Policy) error) any {
	const descriptor = FirstOutput + 1
	connection, err := openDuckDB()
	if err != nil {
		return err
	}
	if err := confine(Policy{ReadFiles: []int{descriptor}}); err != nil {
		return err
	}
	answers := map[string]string{}
	for name, statement := range map[string]string{
		"csv": "SELECT sum(n) FROM read_csv('/dev/fd/4')",
		"csv twice": `SELECT sum(a.n) FROM read_csv('/dev/fd/4', buffer_size = 200000) AS a
			JOIN read_csv('/dev/fd/4', buffer_size = 100000) AS b USING (n)`,
		"size":       "SELECT size FROM read_text('/dev/fd/4')",
		"not listed": "SELECT count(*) FROM read_csv('/dev/fd/0')",
		"other name": "SELECT count(*) FROM read_csv('/proc/self/fd/4')",
		"other file": "SELECT count(*) FROM read_csv('/etc/passwd')",
	} {
		n, err := number(connection, statement)
		answers[name] = fmt.Sprint(n)
		if err != nil {
			answers[name] = err.Error()
		}
	}
	return answers
}

func TestConfine_DuckDBReadsListedDescriptors(t *testing.T) {
	var text strings.Builder
	text.WriteString("n,padding\n")
	const rows = 50_000
	for n := range rows {
		fmt.Fprintf(&text, "%d,%032d\n", n, n)
	}
	name := filepath.Join(t.TempDir(), "rows.csv")
	if err := os.WriteFile(name, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	const refused = "No files found" // the same as for one that does not exist
	sum := strconv.Itoa(rows * (rows - 1) / 2)
	want := map[string]string{"csv": sum, "csv twice": sum, "size": strconv.Itoa(text.Len()),
		"not listed": refused, "other name": refused, "other file": refused}
	for _, mode := range []string{"all", "without landlock"} {
		t.Run(mode, func(t *testing.T) {
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			var got map[string]string
			p := start(t, "duckdb", mode, file)
			p.Input.Close() // a child that reads it must not wait
			report(t, p, &got)
			for name, want := range want {
				if !strings.Contains(got[name], want) {
					t.Errorf("%s: got %q, want %q", name, got[name], want)
				}
			}
		})
	}
}

func TestProcess_CloseKillsAndReapsTheChild(t *testing.T) {
	p := start(t, "protections", "without landlock")
	var word string
	report(t, p, &word)
	if p.Ended() {
		t.Fatal("the child does not wait")
	}
	p.Close()
	if !p.Ended() || !p.Wait().Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("got state %v", p.Wait())
	}
	if err := unix.Kill(p.PID(), 0); err != unix.ESRCH {
		t.Errorf("got %v, want %v", err, unix.ESRCH)
	}
}

func TestHardening_ProgramHasFullRELRO(t *testing.T) {
	if !hardening().RELRO {
		t.Error("the linker's tables stay writable")
	}
}
