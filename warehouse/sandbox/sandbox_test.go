//go:build linux

package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain runs a part of a child process if the first argument names one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			os.Exit(part())
		}
	}
	goleak.VerifyTestMain(m)
}

var parts = map[string]func() int{
	"attempts":                  func() int { return attempts(Policy{}) },
	"attempts without landlock": withoutLandlock,
}

func withoutLandlock() int {
	landlockVersion = func() int { return 0 }
	return attempts(Policy{AllowUnsupported: true})
}

// attempts confines this process and reports the errors of forbidden actions by name.
func attempts(policy Policy) int {
	if _, err := Confine(policy); err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	results := map[string]syscall.Errno{}
	attempt := func(name string, err error) {
		var errno syscall.Errno
		errors.As(err, &errno)
		results[name] = errno
	}
	_, err := os.ReadFile("/etc/passwd")
	attempt("read", err)
	_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	attempt("socket", err)
	attempt("exec", unix.Exec("/proc/self/exe", []string{"x"}, nil))
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
	attempt("fork", errno)
	attempt("signal", unix.Kill(os.Getppid(), 0))
	if err := json.NewEncoder(os.NewFile(FirstOutput, "results")).Encode(results); err != nil {
		return 1
	}
	return 0
}

// run starts a part of this test binary and decodes its output into result.
func run(t *testing.T, part string, result any) {
	t.Helper()
	p, err := Start(Command{Args: []string{"/proc/self/exe", part}, Outputs: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := json.NewDecoder(p.Outputs[0]).Decode(result); err != nil {
		t.Fatalf("%s: %v, %v: %s", part, err, p.Wait(), p.Stderr())
	}
}

func TestConfine_RefusesActions(t *testing.T) {
	for part, read := range map[string]syscall.Errno{"attempts": syscall.EACCES, "attempts without landlock": 0} {
		t.Run(part, func(t *testing.T) {
			if err := Supported(); err != nil && part == "attempts" {
				t.Skip(err)
			}
			var got map[string]syscall.Errno
			run(t, part, &got)
			for name, want := range map[string]syscall.Errno{"read": read, "socket": syscall.EPERM, "exec": syscall.EPERM, "fork": syscall.EPERM, "signal": syscall.EPERM} {
				if got[name] != want {
					t.Errorf("%s: got %v, want %v", name, got[name], want)
				}
			}
		})
	}
}
