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

func bound(int64, time.Duration) error { return nil }

func lockIn([]int) error { return KernelLocksIn() }
