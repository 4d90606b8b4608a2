package sandbox

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// ownProcess is the process id that the filter of these tests is made for.
const ownProcess = 4711

// conditional says of each system call that is allowed with some arguments, whether it is with these.
var conditional = map[int]func(a [6]uint64) bool{
	unix.SYS_FCNTL: func(a [6]uint64) bool {
		return slices.Contains([]uint32{unix.F_GETFD, unix.F_GETFL, unix.F_DUPFD_CLOEXEC}, uint32(a[1]))
	},
	unix.SYS_MMAP:     func(a [6]uint64) bool { return a[2] <= 3 },
	unix.SYS_MPROTECT: func(a [6]uint64) bool { return a[2] <= 3 },
	unix.SYS_MADVISE: func(a [6]uint64) bool {
		return slices.Contains([]uint32{unix.MADV_DONTNEED, unix.MADV_FREE, unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE,
			unix.MADV_COLLAPSE, 102, 103}, uint32(a[2]))
	},
	unix.SYS_FUTEX: func(a [6]uint64) bool {
		return slices.Contains([]uint32{0, 1, 9, 10}, uint32(a[1])&0xff&^0x80) && uint32(a[1])>>9 == 0
	},
	unix.SYS_CLONE: func(a [6]uint64) bool {
		const optional = 0x40000 | 0x80000 | 0x100000 | 0x200000 | 0x400000 | 0x1000000
		return a[0]&^optional == 0x100|0x200|0x400|0x800|0x10000
	},
	unix.SYS_SCHED_GETAFFINITY: func(a [6]uint64) bool { return uint32(a[0]) == 0 },
	unix.SYS_TGKILL:            func(a [6]uint64) bool { return uint32(a[0]) == ownProcess },
	unix.SYS_PRLIMIT64:         func(a [6]uint64) bool { return uint32(a[0]) == 0 && a[2] == 0 },
}

// verdict runs the filter like the kernel does.
func verdict(t *testing.T, vm *bpf.VM, call, architecture uint32, arguments [6]uint64) uint32 {
	t.Helper()
	// The VM loads words in network order, the kernel in the order of the machine.
	data := binary.BigEndian.AppendUint32(nil, call)
	data = binary.BigEndian.AppendUint32(data, architecture)
	data = append(data, make([]byte, 8)...) // instruction pointer
	for _, argument := range arguments {
		data = binary.BigEndian.AppendUint32(data, uint32(argument))
		data = binary.BigEndian.AppendUint32(data, uint32(argument>>32))
	}
	got, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(got)
}

// The filter allows a call if and only if it is listed and its arguments are, whatever the arguments are: also the
// numbers of other calls.
func TestFilter_AllowsOnlyListedCallsAndArguments(t *testing.T) {
	vm, err := bpf.NewVM(filter(rules(ownProcess)))
	if err != nil {
		t.Fatal(err)
	}
	always := append(slices.Clone(unconditional), olderCalls...)
	random := rand.New(rand.NewPCG(1, 2))
	argument := func() uint64 {
		var value uint64
		switch random.IntN(5) {
		case 0:
			value = uint64(random.IntN(2) * random.IntN(lastCall)) // 0, the number of a call, a small flag
		case 1:
			value = 1 << random.IntN(64)
		case 2:
			known := []uint64{ownProcess, 0, ^uint64(0), threadFlags, threadFlags | optionalThreadFlags, 128, 256, 1030}
			value = known[random.IntN(len(known))]
		case 3:
			value = threadFlags ^ 1<<random.IntN(40)
		default:
			value = random.Uint64()
		}
		if random.IntN(4) == 0 {
			value |= uint64(random.Uint32()) << 32
		}
		return value
	}
	allowed := map[int]int{}
	for call := range lastCall + 1 {
		for range 500 {
			var a [6]uint64
			for i := range a {
				a[i] = argument()
			}
			want := unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
			if check, ok := conditional[call]; slices.Contains(always, call) || ok && check(a) {
				want = unix.SECCOMP_RET_ALLOW
				allowed[call]++
			} else if call == unix.SYS_CLONE3 {
				want = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
			}
			if got := verdict(t, vm, uint32(call), architecture, a); got != want {
				t.Fatalf("call %d with %#x: got %#x, want %#x", call, a, got, want)
			}
		}
	}
	if len(allowed) != len(always)+len(conditional) {
		t.Errorf("got %d calls that were allowed with some arguments, want %d", len(allowed), len(always)+len(conditional))
	}
	t.Logf("%d system calls, %d of them with any arguments", len(allowed), len(always))
}

func TestFilter_KillsForeignArchitectures(t *testing.T) {
	vm, err := bpf.NewVM(filter(rules(ownProcess)))
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]struct{ number, architecture uint32 }{
		"32-bit x86": {unix.SYS_READ, unix.AUDIT_ARCH_I386},
		"32-bit arm": {unix.SYS_READ, unix.AUDIT_ARCH_ARM},
		"x32":        {unix.SYS_READ | x32, architecture},
		"negative":   {^uint32(0), architecture},
	} {
		if got := verdict(t, vm, call.number, call.architecture, [6]uint64{}); got != unix.SECCOMP_RET_KILL_PROCESS {
			t.Errorf("%s: got %#x, want %#x", name, got, uint32(unix.SECCOMP_RET_KILL_PROCESS))
		}
	}
}
