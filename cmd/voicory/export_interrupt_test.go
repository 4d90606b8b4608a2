package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/voicory/warehouse/ingest/demo"
)

// stopped runs the program and interrupts it once midway says so: it is held at that moment, so that it cannot have ended since.
func stopped(t *testing.T, midway func() bool, args ...string) (status int, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append(os.Environ(), runAsProgram+"=yes")
	var out bytes.Buffer
	command.Stderr = &out
	noError(t, command.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // how it ended, its state says
	}()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !midway() {
		select {
		case <-ended:
			t.Fatalf("%v ended before it could be stopped: %v %s", args, command.ProcessState, out.String())
		case <-look.C:
		}
	}
	for _, signal := range []os.Signal{syscall.SIGSTOP, os.Interrupt, syscall.SIGCONT} {
		noError(t, command.Process.Signal(signal))
	}
	<-ended
	return command.ProcessState.ExitCode(), out.String()
}

// there tells whether a file or folder is where the pattern says.
func exists(pattern ...string) bool {
	found, _ := filepath.Glob(filepath.Join(pattern...))
	return len(found) > 0
}

// stopsExports interrupts exports at several points of their work, with the folder open in their process, or in a server.
func checkInterruptedExports(t *testing.T, data string) {
	t.Helper()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.ndjson")
	wantStatus(t, run(t, "", "export", "--data", data, "--tenant", demoTenant.ID.String(), "calls", "-o", whole), exitDone)
	info, err := os.Stat(whole)
	noError(t, err)
	for _, test := range []struct {
		dataset, output string
		midway          func(to string) bool
	}{
		{"calls", "calls.ndjson", func(to string) bool {
			found, _ := filepath.Glob(filepath.Join(to, ".calls.ndjson.unfinished-*"))
			if len(found) == 0 {
				return false
			}
			part, err := os.Stat(found[0])
			return err == nil && part.Size() > 0 && part.Size() < info.Size()/2
		}},
		{"all", "everything", func(string) bool { return exists(data, "tmp", "export-*", "warehouse.duckdb") }},
		{"all", "everything", func(to string) bool { return exists(to, ".everything.unfinished-*", "calls", "*", "calls.parquet") }},
	} {
		to := t.TempDir()
		status, stderr := stopped(t, func() bool { return test.midway(to) }, "export", "--data", data, "--tenant", demoTenant.ID.String(), test.dataset, "-o", filepath.Join(to, test.output))
		left, err := os.ReadDir(to)
		noError(t, err)
		if status != exitFailed || !strings.HasPrefix(stderr, "voicory: stopped") || strings.Count(stderr, "\n") != 1 || len(left) > 0 {
			t.Errorf("%s: %d, %s, leaves %v", test.dataset, status, stderr, left)
		}
	}
}

// An export that is interrupted leaves nothing: neither a part under its name, nor a temporary file, here or in the data folder.
func TestExport_InterruptLeavesNoFile(t *testing.T) {
	data, dump := t.TempDir(), filepath.Join(t.TempDir(), "calls.ndjson")
	file, err := os.Create(dump)
	noError(t, err)
	noError(t, errors.Join(demo.Tenant{ID: demoTenant.ID, Calls: 60_000, Customers: 1000}.WriteCalls(file), file.Close()))
	wantStatus(t, run(t, "", "ingest", "--data", data, dump), exitDone)
	clean := func() {
		t.Helper()
		if left, err := os.ReadDir(filepath.Join(data, "tmp")); err != nil || len(left) > 0 {
			t.Errorf("the data folder keeps %v, %v", left, err)
		}
	}
	checkInterruptedExports(t, data)
	clean()
	_, stop := serve(t, data)
	checkInterruptedExports(t, data)
	stop() // no handler runs any more
	clean()
}
