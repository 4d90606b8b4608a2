package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interruptAt runs the program and interrupts it once midway returns true. SIGSTOP before the interrupt keeps the
// program from ending in between. It reports false if the program has ended before.
func interruptAt(t *testing.T, midway func() bool, args ...string) (status int, stderr string, interrupted bool) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append(os.Environ(), runAsProgram+"=yes")
	var out bytes.Buffer
	command.Stderr = &out
	noError(t, command.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // ProcessState has the result
	}()
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !midway() {
		select {
		case <-ended:
			return command.ProcessState.ExitCode(), out.String(), false
		case <-look.C:
		}
	}
	for _, signal := range []os.Signal{syscall.SIGSTOP, os.Interrupt, syscall.SIGCONT} {
		if command.Process.Signal(signal) != nil {
			break // it has ended
		}
	}
	<-ended
	return command.ProcessState.ExitCode(), out.String(), command.ProcessState.ExitCode() != exitDone
}

// exists reports whether a file or folder matches the pattern.
func exists(pattern ...string) bool {
	found, _ := filepath.Glob(filepath.Join(pattern...))
	return len(found) > 0
}

// checkInterruptedExports interrupts exports at several points of their work.
func checkInterruptedExports(t *testing.T, data string) {
	t.Helper()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.ndjson")
	mustRun(t, "", "export", "--data", data, "--tenant", demoTenant.ID.String(), "messages", "-o", whole)
	info, err := os.Stat(whole)
	noError(t, err)
	for _, test := range []struct {
		dataset, output string
		midway          func(to string) bool
	}{
		{"messages", "messages.ndjson", func(to string) bool {
			found, _ := filepath.Glob(filepath.Join(to, ".messages.ndjson.unfinished-*"))
			if len(found) == 0 {
				return false
			}
			part, err := os.Stat(found[0])
			return err == nil && part.Size() > 0 && part.Size() < info.Size()*3/4
		}},
		{"all", "everything", func(string) bool { return exists(data, "tmp", "export-*", "warehouse.duckdb") }},
		{"all", "everything", func(to string) bool {
			return exists(to, ".everything.unfinished-*", "calls", "*",
				"calls.parquet")
		}},
	} {
		var to, stderr string
		var status int
		interrupted := false
		for range 20 { // an export can end before the test has seen its temporary file
			to = t.TempDir()
			if status, stderr, interrupted = interruptAt(t, func() bool { return test.midway(to) }, "export", "--data", data,
				"--tenant", demoTenant.ID.String(), test.dataset, "-o", filepath.Join(to, test.output)); interrupted {
				break
			}
		}
		left, err := os.ReadDir(to)
		noError(t, err)
		if want := exitSignal + int(syscall.SIGINT); status != want || !strings.HasPrefix(stderr, "voicory: stopped") ||
			strings.Count(stderr, "\n") != 1 || len(left) > 0 {
			t.Errorf("%s: got status %d, %q and files %v, want status %d, one line and no files", test.dataset, status, stderr,
				left, want)
		}
	}
}

// An interrupted export leaves no incomplete output and no temporary file, neither beside the output nor in the data
// folder.
func TestExport_InterruptLeavesNoFile(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	copyDemo(t, data)
	clean := func() {
		t.Helper()
		if left, err := os.ReadDir(filepath.Join(data, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("got files %v in tmp, %v; want none", left, err)
		}
	}
	checkInterruptedExports(t, data)
	clean()
	_, stop := serve(t, data)
	checkInterruptedExports(t, data)
	stop() // returns after the last handler has ended
	clean()
}
