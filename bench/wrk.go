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

// wrkScript tells wrk what to ask, and how to say what came of it.
//
//go:embed load.lua
var wrkScript []byte

// canRun tells whether a program that this work needs is installed; the table says so if not.
func (b *bench) canRun(program, work string) bool {
	_, err := exec.LookPath(program)
	if err != nil {
		b.table.add(row{work, "–", "–", "there is no " + program + " here (apt-get install " + program + ")", "skipped"})
	}
	return err == nil
}

// wrk asks the server at url from so many connections, which it keeps, for what the lines say ("key path"), in turn. An
// answer that is not well fails it.
func (b *bench) wrk(url string, connections int, lines []byte) side {
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

// wrkFigures reads the last line of what wrk says, which is the script's.
func wrkFigures(report []byte) (speed, error) {
	var figures struct {
		Requests                              int
		Duration, P99                         float64 // µs
		Connect, Read, Write, Status, Timeout int     // requests that were not well
	}
	report = bytes.TrimSpace(report)
	if err := json.Unmarshal(report[bytes.LastIndexByte(report, '\n')+1:], &figures); err != nil {
		return speed{}, fmt.Errorf("read what wrk says: %w: %s", err, report)
	}
	if figures.Connect+figures.Read+figures.Write+figures.Status+figures.Timeout > 0 || figures.Requests == 0 {
		return speed{}, fmt.Errorf("not every answer was well: %s", report)
	}
	return speed{figures.Requests, float64(figures.Requests) / figures.Duration * 1e6, figures.P99 / 1e3}, nil
}

const (
	readyTimeout = 30 * time.Second // that a process may take until it answers
	readyEvery   = 20 * time.Millisecond
	lastWords    = 2000 // bytes of what a process said, for the error
)

// during runs a program for as long as use takes, which begins once ready does not fail. Then the program is asked to end,
// and must end well.
func (b *bench) during(ctx context.Context, ready, use func(context.Context) error, program string, args ...string) (err error) {
	command := exec.CommandContext(ctx, program, args...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = readyTimeout
	output, err := os.CreateTemp(b.dir, filepath.Base(program)+"-*.log") // a file: what it logs costs it no reader
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
			ended = nil // as it was asked to, without a handler of its own
		}
		if err = errors.Join(err, stop, ended); err != nil {
			said, _ := os.ReadFile(output.Name())
			err = fmt.Errorf("%w\n%s said: %s", err, filepath.Base(program), said[max(len(said)-lastWords, 0):])
		}
	}()
	if err := waitFor(gone, ready); err != nil {
		return err
	}
	return use(gone)
}

// waitFor asks again and again until ready does not fail.
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

// freeAddress is one of this machine that nothing listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// served runs `voicory serve` on a data folder for as long as use takes.
func (b *bench) served(ctx context.Context, data, key string, use func(context.Context, *client) error, flags ...string) error {
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
	return b.during(ctx, ready, func(ctx context.Context) error { return use(ctx, asking) },
		b.voicory, append([]string{"serve", "--data", data, "--listen", address}, flags...)...)
}
