package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/ingest/filereader"
)

// startProcess starts a server process and returns its URL and a function that returns the rest of its log.
func startProcess(t *testing.T, data string, flags ...string) (process *exec.Cmd, url string, stderr func() string) {
	t.Helper()
	process = exec.CommandContext(t.Context(), os.Args[0], append(
		[]string{"serve", "--data", data, "--listen", "127.0.0.1:0", "--log-format", "json"}, flags...)...)
	process.Env = append(os.Environ(), runAsProgram+"=yes")
	pipe, err := process.StderrPipe()
	noError(t, err)
	noError(t, process.Start())
	logged := json.NewDecoder(pipe)
	for url == "" {
		var line struct{ Msg, Address string }
		noError(t, logged.Decode(&line))
		if line.Msg == "serving" {
			url = "http://" + line.Address
		}
	}
	var rest bytes.Buffer
	var read sync.WaitGroup
	read.Go(func() { _, _ = io.Copy(&rest, pipe) })
	return process, url, func() string {
		read.Wait()
		return rest.String()
	}
}

// fileReaders returns the ids of the file reader processes that parent has started.
func fileReaders(t *testing.T, parent int) (pids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	noError(t, err)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		command, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil || err2 != nil { // the process has ended
			continue
		}
		_, after, _ := bytes.Cut(stat, []byte(") "))
		fields := strings.Fields(string(after)) // state, parent, …
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) && fields[0] != "Z" &&
			strings.HasSuffix(string(command), "\x00"+filereader.Argument+"\x00") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// SIGTERM ends a server with a push in flight whose file reader hangs, and also ends the file reader.
func TestStop_FileReaderThatHangs(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	key := createKey(t, data, someTenant, "secret")
	var ndjson bytes.Buffer
	noError(t, demo.Tenant{ID: demoTenant.ID, Calls: 3000, Customers: 10}.WriteCalls(&ndjson))
	content := inFormats(t, bytes.ReplaceAll(ndjson.Bytes(), fmt.Appendf(nil, `"user_id":%q,`, demoTenant.ID),
		nil))["application/vnd.apache.parquet"]
	server, url, stderr := startProcess(t, data, "--stop-timeout", "1s", "--rate-limit", "none")
	ctx, cancel := context.WithCancel(t.Context())
	var pushing sync.WaitGroup
	defer pushing.Wait()
	defer cancel()
	pushing.Go(func() { // repeat until a file reader could be stopped
		for ctx.Err() == nil {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v1/ingest/calls",
				bytes.NewReader(content))
			if err != nil {
				return
			}
			request.Header.Set("x-api-key", key)
			request.Header.Set("Content-Type", "application/vnd.apache.parquet")
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				response.Body.Close()
			}
			http.DefaultClient.CloseIdleConnections()
		}
	})
	var reader int
	until(t, "a file reader is stopped", func() bool {
		for _, pid := range fileReaders(t, server.Process.Pid) {
			if syscall.Kill(pid, syscall.SIGSTOP) == nil {
				reader = pid
			}
		}
		return reader != 0
	})
	noError(t, server.Process.Signal(syscall.SIGTERM))
	logged := stderr()
	if err := server.Wait(); err != nil {
		t.Errorf("got %v, want status 0: %s", err, logged)
	}
	until(t, "the file reader is gone", func() bool { return syscall.Kill(reader, 0) != nil })
}
