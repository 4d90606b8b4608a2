//go:build !linux

package query

import (
	"fmt"
	"syscall"
	"time"
)

func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// KernelLocksIn tells whether the kernel can lock a worker in.
func KernelLocksIn() error { return fmt.Errorf("%w: only Linux can lock it in", ErrUnavailable) }

func bound(int64) error { return nil }

func boundTime(time.Duration) error { return nil }

func lockIn(_ []int, unsandboxed bool) error {
	if unsandboxed {
		return nil
	}
	return KernelLocksIn()
}
