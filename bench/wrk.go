package main

import (
	"bytes"
	"context"
	_ "embed" // the script
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// wrkScript is wrk's script. It makes the requests and prints the figures.
//
//go:embed wrk_load.lua
var wrkScript []byte

// canRun reports whether a program is installed. If it is not, it adds a line about the skipped work to the table.
func (b *bench) canRun(program, work string) bool {
	_, err := exec.LookPath(program)
	if err != nil {
		b.table.add(row{work, "–", "–", program + " is not installed (apt-get install " + program + ")", "skipped"})
	}
	return err == nil
}

// wrk returns a load generator that makes the requests in lines ("key path") in turn, over the given number of
// persistent connections. It fails if a response is not a success.
func (b *bench) wrk(url string, connections int, lines []byte) loadGenerator {
	return func(ctx context.Context, d time.Duration) (speed, error) {
		script, asks := filepath.Join(b.dir, "load.lua"), filepath.Join(b.dir, "asks")
		if err := errors.Join(os.WriteFile(script, wrkScript, 0o600), os.WriteFile(asks, lines, 0o600)); err != nil {
			return speed{}, err
		}
		f, err := run(ctx, "wrk", "--threads", "1", "--connections", strconv.Itoa(connections), "--duration", d.String(),
			"--timeout", "30s", "--script", script, url, "--", asks)
		if err != nil {
			return speed{}, err
		}
		return wrkFigures(f.out)
	}
}

// wrkFigures parses the last line of wrk's output, which the script prints.
func wrkFigures(report []byte) (speed, error) {
	var figures struct {
		Requests                              int
		Duration, P99                         float64 // µs
		Connect, Read, Write, Status, Timeout int     // numbers of failed requests by cause
	}
	report = bytes.TrimSpace(report)
	if err := json.Unmarshal(report[bytes.LastIndexByte(report, '\n')+1:], &figures); err != nil {
		return speed{}, fmt.Errorf("parse the output of wrk: %w: %s", err, report)
	}
	if figures.Connect+figures.Read+figures.Write+figures.Status+figures.Timeout > 0 || figures.Requests == 0 {
		return speed{}, fmt.Errorf("wrk reports failed requests: %s", report)
	}
	return speed{figures.Requests, float64(figures.Requests) / figures.Duration * 1e6, figures.P99 / 1e3}, nil
}

const (
	readyTimeout = 30 * time.Second // time limit for a process to become ready
	readyEvery   = 20 * time.Millisecond
	maxOutput    = 2000 // bytes of a process's output that an error contains
)

// withProcess runs a program, waits until ready succeeds, and calls use. Then it terminates the program, which must
// exit without an error.
func (b *bench) withProcess(
	ctx context.Context,
	ready, use func(context.Context) error,
	program string,
	args ...string,
) (err error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = readyTimeout
	output, err := os.CreateTemp(b.dir,
		filepath.Base(program)+"-*.log") // a file, because reading a pipe would use processor time
	if err != nil {
		return err
	}
	defer output.Close()
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	b.started = command.Process.Pid
	gone, over := context.WithCancelCause(ctx)
	waited := make(chan error, 1)
	go func() {
		ended := command.Wait()
		over(fmt.Errorf("%s ended: %w", filepath.Base(program), ended))
		waited <- ended
	}()
	defer func() {
		stop := command.Process.Signal(syscall.SIGTERM)
		ended := <-waited
		if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGTERM {
			ended = nil // terminated by SIGTERM, as intended
		}
		if err = errors.Join(err, stop, ended); err != nil {
			said, _ := os.ReadFile(output.Name())
			err = fmt.Errorf("%w\noutput of %s: %s", err, filepath.Base(program), said[max(len(said)-maxOutput, 0):])
		}
	}()
	if err := waitFor(gone, ready); err != nil {
		return err
	}
	return use(gone)
}

// waitFor calls ready repeatedly until it succeeds, for at most readyTimeout.
func waitFor(ctx context.Context, ready func(context.Context) error) error {
	deadline, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	again := time.NewTicker(readyEvery)
	defer again.Stop()
	for {
		err := ready(deadline)
		if err == nil {
			return nil
		}
		select {
		case <-deadline.Done():
			return fmt.Errorf("not ready: %w: %w", context.Cause(deadline), err)
		case <-again.C:
		}
	}
}

// freeAddress returns a local address that no process listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// withServer calls use while `voicory serve` runs on a data folder.
func (b *bench) withServer(
	ctx context.Context,
	data, key string,
	use func(context.Context, *client) error,
	flags ...string,
) error {
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	asking := newClient("http://"+address, key)
	defer asking.http.CloseIdleConnections()
	ready := func(ctx context.Context) error {
		_, err := asking.get(ctx, "/api/v1/calls?limit=1")
		return err
	}
	return b.withProcess(ctx, ready, func(ctx context.Context) error { return use(ctx, asking) },
		b.voicory, append([]string{"serve", "--data", data, "--listen", address}, flags...)...)
}
