package torture

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// clockCode replaces the function of the vDSO that reads the clock. It makes the system call, and adds the number of
// seconds at offsetAt to the time of day.
var clockCode = []byte{
	0xb8, 0xe4, 0x00, 0x00, 0x00, // mov eax, SYS_clock_gettime
	0x0f, 0x05, // syscall
	0x85, 0xff, // test edi, edi: CLOCK_REALTIME
	0x74, 0x05, // jz add
	0x83, 0xff, 0x05, // cmp edi, CLOCK_REALTIME_COARSE
	0x75, 0x0a, // jne end
	0x48, 0x8b, 0x15, 0x09, 0x00, 0x00, 0x00, // add: mov rdx, [rip+9], which is at offsetAt
	0x48, 0x01, 0x16, // add [rsi], rdx
	0xc3, // end: ret
}

const offsetAt = 32

// A wallClock is the time of day of a process.
type wallClock struct {
	memory  *os.File
	address int64
}

// startWithClock starts the command with a time of day that differs from the real one by the offset. Its child
// processes have the real one.
func startWithClock(command *exec.Cmd, offset time.Duration) (*wallClock, error) {
	// The process stops at its exec. All calls of ptrace must come from one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Ptrace = true
	if err := command.Start(); err != nil {
		return nil, err
	}
	pid := command.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return nil, err
	}
	clock, err := replaceClock(pid)
	if err == nil {
		err = clock.set(offset)
	}
	return clock, errors.Join(err, syscall.PtraceDetach(pid))
}

// probeClock returns an error if this machine does not let a process change the clock of its children.
func probeClock(ctx context.Context) error {
	command := exec.CommandContext(ctx, "true")
	clock, err := startWithClock(command, 0)
	if err != nil {
		return fmt.Errorf("change the clock of a process: %w", err)
	}
	return errors.Join(command.Wait(), clock.close())
}

// clockFaults returns the faults of the wall clock. Each ends with the right time.
func clockFaults() (faults []*fault) {
	const jump = 40 * 24 * time.Hour
	back := func(m *machine, _ draw) error { return m.srv.clock.set(0) }
	expiry := func(m *machine, want int) error {
		got, err := client{m.srv.address, m.expiring.Key}.do(m.ctx, http.MethodGet, "/api/v1/calls?limit=1", nil)
		if err == nil && got.status != want {
			err = fmt.Errorf("%w: key with an expiry: got %s, want %d", errWrong, got, want)
		}
		return err
	}
	for name, offset := range map[string]time.Duration{"ahead": jump, "behind": -jump} {
		valid := map[bool]int{true: http.StatusUnauthorized, false: http.StatusOK}[offset > 0]
		faults = append(faults, &fault{name: "clock 40 days " + name + " for a while", forgets: true,
			before: func(m *machine, _ draw) error {
				if err := m.srv.clock.set(offset); err != nil {
					return err
				}
				return expiry(m, valid)
			},
			after: func(m *machine, d draw) error {
				if err := back(m, d); err != nil {
					return err
				}
				return expiry(m, http.StatusOK)
			},
		}, &fault{name: "clock 40 days " + name + " at a start", forgets: true,
			before: func(m *machine, _ draw) error {
				if err := m.srv.stop(syscall.SIGTERM); err != nil {
					return err
				}
				m.srv.offset = offset
				err := m.srv.start(m.ctx)
				m.srv.offset = 0
				if err != nil {
					return err
				}
				return expiry(m, valid)
			},
			after: func(m *machine, d draw) error {
				if err := back(m, d); err != nil {
					return err
				}
				return expiry(m, http.StatusOK)
			},
		})
	}
	slices.SortFunc(faults, func(a, b *fault) int { return strings.Compare(a.name, b.name) })
	return faults
}

// replaceClock replaces the code of a stopped process that reads the clock.
func replaceClock(pid int) (*wallClock, error) {
	start, end, err := vdso(pid)
	if err != nil {
		return nil, err
	}
	memory, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	library, err := elf.NewFile(bytes.NewReader(readAt(memory, start, end-start)))
	if err != nil {
		return nil, err
	}
	symbols, err := library.DynamicSymbols()
	if err != nil {
		return nil, err
	}
	for _, symbol := range symbols {
		if symbol.Name == "__vdso_clock_gettime" {
			if symbol.Size < offsetAt+8 {
				break // the code would overwrite the next function
			}
			address := start + int64(symbol.Value) //nolint:gosec // an offset in the library
			_, err := memory.WriteAt(clockCode, address)
			return &wallClock{memory, address + offsetAt}, err
		}
	}
	return nil, errors.Join(errors.New("the vDSO has no function that reads the clock, or a short one"), memory.Close())
}

func readAt(from io.ReaderAt, at, length int64) []byte {
	b := make([]byte, length)
	n, _ := from.ReadAt(b, at)
	return b[:n]
}

func vdso(pid int) (start, end int64, err error) {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "[vdso]") {
			_, err := fmt.Sscanf(lines.Text(), "%x-%x", &start, &end)
			return start, end, err
		}
	}
	return 0, 0, errors.New("the process has no vDSO")
}

// set changes the offset of the running process.
func (c *wallClock) set(offset time.Duration) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(int64(offset/time.Second))) //nolint:gosec // negative offsets wrap
	_, err := c.memory.WriteAt(b[:], c.address)
	return err
}

func (c *wallClock) close() error { return c.memory.Close() }
