//go:build !linux

package sandbox

import (
	"fmt"
	"syscall"
	"time"
)

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Supported returns an error that wraps [ErrUnsupported]: only Linux can confine a process.
func Supported() error { return fmt.Errorf("%w: it needs Linux", ErrUnsupported) }

// LimitMemory does nothing.
func LimitMemory(int64) error { return nil }

// LimitCPU does nothing.
func LimitCPU(time.Duration) error { return nil }

// Confine does nothing if the policy allows that, else it fails.
func Confine(policy Policy) (Protections, error) {
	if policy.AllowUnsupported {
		return Protections{}, nil
	}
	return Protections{}, Supported()
}
