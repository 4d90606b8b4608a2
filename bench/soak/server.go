package main

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
	"syscall"
	"time"
)

// A server is a running `voicory serve`.
type server struct {
	command  *exec.Cmd
	output   string        // file with its output
	ended    chan struct{} // closed when the process has ended
	failure  error         // of the process; set before ended is closed
	data     string        // data folder
	url      string
	operator *http.Client // client of the operator's socket
}

const (
	readyTimeout = time.Minute
	readyEvery   = 50 * time.Millisecond
	maxOutput    = 4000 // bytes of the output that an error contains
)

// startServer starts the server and waits until it is ready.
func startServer(ctx context.Context, o options, dir, data string) (*server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	socket := filepath.Join(data, "voicory.sock")
	s := &server{
		output: output.Name(), ended: make(chan struct{}), data: data, url: "http://" + address,
		operator: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}},
	}
	s.command = exec.CommandContext(context.WithoutCancel(ctx), o.voicory, "serve", "--data", data, "--listen", address,
		"--memory-limit", o.memory.String(), "--rate-limit", "none", "--guess-limit", "none")
	s.command.Stdout, s.command.Stderr = output, output
	if err := s.command.Start(); err != nil {
		return nil, fmt.Errorf("start voicory: %w", err)
	}
	go func() {
		s.failure = s.command.Wait()
		close(s.ended)
	}()
	if err := s.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, s.kill())
	}
	return s, nil
}

func (s *server) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	again := time.NewTicker(readyEvery)
	defer again.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/healthz", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("voicory is not ready: %w: %w", ctx.Err(), err)
		case <-s.ended:
			return s.endError()
		case <-again.C:
		}
	}
}

// running reports whether the process has not ended.
func (s *server) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// endError returns an error with the end of the output of the process, which has ended.
func (s *server) endError() error {
	text, _ := os.ReadFile(s.output)
	return fmt.Errorf("voicory serve ended: %w\n%s", s.failure, text[max(len(text)-maxOutput, 0):])
}

// stop terminates the process and returns the time that it took.
func (s *server) stop() (time.Duration, error) {
	start := time.Now()
	if err := s.command.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	<-s.ended
	if status, ok := s.command.ProcessState.Sys().(syscall.WaitStatus); s.failure != nil &&
		(!ok || status.ExitStatus() != 128+int(syscall.SIGTERM)) {
		return 0, s.endError()
	}
	return time.Since(start), nil
}

func (s *server) kill() error {
	err := s.command.Process.Kill()
	<-s.ended
	return err
}

// call sends a request to the operator's socket and decodes the result into result, unless result is nil.
func (s *server) call(ctx context.Context, method, path string, body, result any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://voicory"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	response, err := s.operator.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	reply := struct {
		Error  any `json:"error"`
		Result any `json:"result"`
	}{Result: result}
	answer = bytes.TrimSpace(answer)
	answer = answer[bytes.LastIndexByte(answer, '\n')+1:] // the lines before the last one report progress
	if err := json.Unmarshal(answer, &reply); err != nil || reply.Error != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return nil
}

// A newKey is a key that was created.
type newKey struct {
	ID   string `json:"id"`
	Text string `json:"key"`
}

// createKey creates a secret key of the tenant.
func (s *server) createKey(ctx context.Context, t *tenant) (key newKey, err error) {
	err = s.call(ctx, http.MethodPost, "/keys", map[string]any{"tenant_id": t.id, "type": "secret", "label": "soak"}, &key)
	return key, err
}

// createKeys creates a secret key of each tenant.
func (s *server) createKeys(ctx context.Context, tenants []*tenant) error {
	for _, t := range tenants {
		key, err := s.createKey(ctx, t)
		if err != nil {
			return err
		}
		t.key = key.Text
	}
	return nil
}
