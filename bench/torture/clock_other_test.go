//go:build !linux || !amd64

package torture

import (
	"context"
	"errors"
	"os/exec"
	"time"
)

type wallClock struct{}

func startWithClock(command *exec.Cmd, _ time.Duration) (*wallClock, error) {
	return nil, command.Start()
}

func (c *wallClock) close() error { return nil }

func probeClock(context.Context) error {
	return errors.New("only linux/amd64 has code that changes the clock of a process")
}

// clockFaults returns no faults.
func clockFaults() []*fault { return nil }
