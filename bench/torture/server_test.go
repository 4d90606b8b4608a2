package torture

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

const startTimeout = 5 * time.Minute

// A server runs `voicory serve` on a data folder.
type server struct {
	program, data string
	log           *logFile      // of all processes
	address       string        // of the running process
	clocks        bool          // processes start with a wall clock that can be set
	offset        time.Duration // of the wall clock of the next process
	clock         *wallClock    // of the running process

	process *exec.Cmd // nil: not running
	ended   chan struct{}
	err     error // of the process; valid once ended is closed
}

// A logFile collects the output of the processes, and finds the address in it.
type logFile struct {
	file *os.File

	mu      sync.Mutex
	buffer  bytes.Buffer // output of the current process; guarded by mu
	address chan string  // gets the address once; guarded by mu
}

var servingLine = regexp.MustCompile(`msg=serving address=(\S+)`)

func (l *logFile) begin() <-chan string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer.Reset()
	l.address = make(chan string, 1)
	return l.address
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer.Write(p)
	if l.address != nil {
		if match := servingLine.FindSubmatch(l.buffer.Bytes()); match != nil {
			l.address <- string(match[1])
			l.address = nil
		}
	}
	return l.file.Write(p)
}

// tail returns the last warnings and errors of the current process, or its last lines.
func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := strings.Split(strings.TrimSpace(l.buffer.String()), "\n")
	var bad []string
	for _, line := range lines {
		if !strings.Contains(line, "level=INFO") {
			bad = append(bad, line)
		}
	}
	return strings.Join(bad[max(0, len(bad)-8):], "\n")
}

// An exitError says that the process ended instead of serving.
type exitError struct {
	status int
	output string
}

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d: %s", e.status, e.output) }

// start starts the server and waits until it serves. It returns an *exitError if the process ends instead.
func (s *server) start(ctx context.Context) error {
	address := s.log.begin()
	args := []string{"serve", "--data", s.data, "--listen", "127.0.0.1:0", "--rate-limit", "none"}
	command := exec.CommandContext(ctx, s.program, args...) // #nosec G204
	// A pipe of our own: Wait would wait for child processes of the server that have inherited that of exec.Cmd.
	output, input, err := os.Pipe()
	if err != nil {
		return err
	}
	command.Stdout, command.Stderr = input, input
	command.SysProcAttr = dieWithParent()
	if s.clocks {
		s.clock, err = startWithClock(command, s.offset)
	} else {
		err = command.Start()
	}
	if err := errors.Join(err, input.Close()); err != nil {
		return errors.Join(err, output.Close())
	}
	copied := make(chan struct{})
	go func() {
		_, _ = io.Copy(s.log, output) // ends with the last process that has the pipe
		_ = output.Close()
		close(copied)
	}()
	s.process, s.ended = command, make(chan struct{})
	clock := s.clock
	go func() {
		s.err = command.Wait()
		if clock != nil {
			_ = clock.close()
		}
		close(s.ended)
	}()
	select {
	case s.address = <-address:
		return nil
	case <-s.ended:
		s.process = nil
		<-copied
		return &exitError{command.ProcessState.ExitCode(), s.log.tail()}
	case <-time.After(startTimeout):
		_ = s.stop(syscall.SIGKILL)
		return fmt.Errorf("the server does not serve after %v: %s", startTimeout, s.log.tail())
	}
}

// stop sends the signal and waits for the end of the process.
func (s *server) stop(signal syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.ended:
	case <-time.After(startTimeout):
		_ = s.process.Process.Kill()
		<-s.ended
		s.process = nil
		return fmt.Errorf("the server ran for %v after signal %v", startTimeout, signal)
	}
	s.process = nil
	if signal == syscall.SIGKILL {
		return nil
	}
	return s.err
}

func (s *server) running() bool { return s.process != nil }

// A commandResult is the outcome of a command of voicory.
type commandResult struct {
	status         int
	stdout, stderr string
}

// run runs a command of voicory on the data folder.
func (s *server) run(ctx context.Context, args ...string) commandResult {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, s.program, append(args, "--data", s.data)...) // #nosec G204
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if err != nil && command.ProcessState == nil {
		return commandResult{-1, "", err.Error()}
	}
	return commandResult{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// A finding is a finding of voicory verify or of voicory repair.
type finding struct {
	Kind        string `json:"kind"`
	Tenant      string `json:"tenant_id"`
	File        string `json:"file"`
	Detail      string `json:"detail"`
	Command     string `json:"command"`
	Done        string `json:"done"`
	Failed      string `json:"failed"`
	Information bool   `json:"information"`
}

type verification struct {
	Findings  []finding `json:"findings"`
	Repairs   []finding `json:"repairs"`
	Remaining []finding `json:"remaining"`
}

// document runs a command with --json and parses its output.
func (s *server) document(ctx context.Context, args ...string) (v verification, status int, err error) {
	result := s.run(ctx, append(args, "--json")...)
	if err := json.Unmarshal([]byte(result.stdout), &v); err != nil {
		return v, result.status, fmt.Errorf("voicory %s: exit status %d: %s%s",
			strings.Join(args, " "), result.status, result.stdout, result.stderr)
	}
	return v, result.status, nil
}

// operator makes a request to the operator's socket.
func (s *server) operator(ctx context.Context, method, path string, body, result any) error {
	client := http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				var dialer net.Dialer
				return dialer.DialContext(ctx, "unix", filepath.Join(s.data, "voicory.sock"))
			}},
	}
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://voicory"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var reply struct {
		Result json.RawMessage
		Error  json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&reply); err != nil {
		return fmt.Errorf("%s %s: %s: %w", method, path, response.Status, err)
	}
	if len(reply.Error) > 0 && string(reply.Error) != `""` && string(reply.Error) != "null" {
		return fmt.Errorf("%s %s: %s", method, path, reply.Error)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(reply.Result, result)
}
