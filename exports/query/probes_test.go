//go:build linux

package query

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"golang.org/x/sys/unix"

	"github.com/voicory/warehouse/exports/query/internal/worker"
	"github.com/voicory/warehouse/warehouse/sandbox"
)

func init() { probes = linuxProbes }

// linuxProbes run in a confined worker, in place of an attacker who controls the process. Each returns a Failure if it
// can do anything.
var linuxProbes = map[string]worker.Hooks{
	"process": {Locked: func() error {
		var could []string
		attempt := func(action string, err error, want ...error) {
			for _, w := range want {
				if errors.Is(err, w) {
					return
				}
			}
			could = append(could, fmt.Sprintf("%s: %v", action, err))
		}
		_, err := os.ReadFile("/etc/passwd")
		attempt("read a file", err, syscall.EPERM)
		_, err = os.ReadDir("/")
		attempt("read a folder", err, syscall.EPERM)
		_, err = os.ReadFile("/proc/self/environ")
		attempt("read its environment", err, syscall.EPERM)
		attempt("write a file", os.WriteFile("/tmp/voicory-probe", nil, 0o600), syscall.EPERM)
		attempt("make a folder", os.Mkdir("/tmp/voicory-probe", 0o700), syscall.EPERM)
		_, err = (&net.Dialer{}).DialContext(context.Background(), "tcp", "127.0.0.1:1")
		attempt("connect", err, syscall.EPERM)
		_, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		attempt("make a socket", err, syscall.EPERM)
		attempt("run a program", exec.CommandContext(context.Background(), "/proc/self/exe").Run(), syscall.EPERM)
		_, _, errno := unix.RawSyscall(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0)
		attempt("make a process", errno, syscall.EPERM)
		attempt("signal its parent", unix.Kill(os.Getppid(), 0), syscall.EPERM)
		// a process ID that does not exist, so that a success has no effect
		attempt("trace a process", unix.PtraceAttach(1<<22), syscall.EPERM)
		_, err = unix.MemfdCreate("x", 0)
		attempt("make a file of memory", err, syscall.EPERM)
		if len(could) > 0 {
			return &Failure{Kind: ErrSQL, Message: "it could " + strings.Join(could, "; ")}
		}
		return nil
	}},
	// Output to standard output and standard error is not part of a result.
	"output": {Locked: func() error {
		for _, file := range []*os.File{os.Stdout, os.Stderr} {
			if _, err := file.Write(bytes.Repeat([]byte("not a result\n"), 100_000)); err != nil {
				return err
			}
		}
		return nil
	}},
	// The confinement applies to DuckDB's threads too, including those that DuckDB started before. The engine of this
	// probe has no settings, so that only the kernel refuses.
	"engine": {Open: func() error {
		db, err := sql.Open("duckdb", "?threads=4")
		if err != nil {
			return err
		}
		unlocked, err = db.Conn(context.Background())
		return err
	}, Locked: func() error {
		for _, read := range []string{"read_text('/etc/passwd')", "read_csv('/etc/passwd')",
			"read_blob(['/etc/passwd', '/etc/hostname', '/etc/group', '/proc/1/environ'])"} {
			if err := execUnlocked("SELECT error('a row is read') FROM " + read); err != nil &&
				!strings.Contains(err.Error(), "No files found") {
				return &Failure{Kind: ErrSQL, Message: fmt.Sprintf("%s: %v", read, err)}
			}
		}
		if err := execUnlocked("COPY (SELECT 1) TO '/tmp/voicory-probe.csv'"); err == nil {
			return &Failure{Kind: ErrSQL, Message: "a file was written"}
		}
		return nil
	}},
}

// unlocked is a DuckDB without the settings of a worker.
var unlocked *sql.Conn

func execUnlocked(statement string) error {
	_, err := unlocked.ExecContext(context.Background(), statement)
	return err
}

// The kernel confines a worker even if DuckDB refuses nothing.
func TestWork_KernelAloneConfines(t *testing.T) {
	if err := sandbox.Supported(); err != nil {
		t.Skip(err)
	}
	w := sharedLake(t)
	for name := range probes {
		r := newRunner(t, w, func(o *Options) { o.Command = append(o.Command, name) })
		if got := mustQuery(t, r, "SELECT count(*) FROM calls").text(); got != "200" {
			t.Errorf("%s: got %s, want 200", name, got)
		}
	}
}

// If the kernel cannot confine a worker, no query runs, unless the operator allows it.
func TestRunner_RequiresSandbox(t *testing.T) {
	w := sharedLake(t)
	cannot := func(o *Options) { o.SandboxSupported = func() error { return ErrUnavailable } }
	_, _, err := runQuery(t.Context(), newRunner(t, w, cannot), Request{SQL: "SELECT 1"})
	if !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	var log bytes.Buffer
	open := newRunner(t, w, cannot, func(o *Options) {
		o.AllowUnsandboxed, o.Log = true, slog.New(slog.NewTextHandler(&log, nil))
	})
	if !strings.Contains(log.String(), "lacks a protection") {
		t.Errorf("got log %s, want a warning", &log)
	}
	if got := mustQuery(t, open, "SELECT count(*) FROM calls").text(); got != "200" {
		t.Error(got)
	}
	if _, _, err := runQuery(t.Context(), open, Request{SQL: "FROM read_text('/etc/passwd')"}); !errors.Is(err, ErrSQL) {
		t.Error(err)
	}
}

// The first worker's protections are logged, once.
func TestRunner_LogsProtectionsOnce(t *testing.T) {
	if err := sandbox.Supported(); err != nil {
		t.Skip(err)
	}
	var log bytes.Buffer
	r := newRunner(t, sharedLake(t), func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 2 {
		mustQuery(t, r, "SELECT 1")
	}
	text := log.String()
	if strings.Count(text, "the kernel confines SQL workers") != 1 ||
		!strings.Contains(text, "protections.seccomp=true protections.privileges_dropped=true") ||
		strings.Contains(text, "protections.landlock=0") {
		t.Errorf("got %s", text)
	}
}

// Start refuses a worker that does not report every protection.
func TestRunner_RefusesUnconfinedWorkers(t *testing.T) {
	const begins = `{"begins":true}{"done":{"rows":0,"truncated":""}}`
	for name, c := range map[string]struct {
		events string
		want   error
	}{
		"no report":           {begins, ErrCrashed},
		"no Landlock":         {`{"confined":{"seccomp":true,"privileges":true}}` + begins, ErrUnavailable},
		"no seccomp":          {`{"confined":{"landlock":7,"privileges":true}}` + begins, ErrUnavailable},
		"privileges":          {`{"confined":{"landlock":7,"seccomp":true}}` + begins, ErrUnavailable},
		"all, for comparison": {`{"confined":{"landlock":7,"seccomp":true,"privileges":true}}` + begins, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t, sharedLake(t), func(o *Options) {
				o.SandboxSupported = func() error { return nil }
				o.Command = []string{"/bin/sh", "-c", `printf '%s' "$1" >&3`, "sh", c.events}
			})
			if _, _, err := runQuery(t.Context(), r, Request{SQL: "SELECT 1"}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}
