//go:build !linux

package warehouse

import (
	"syscall"
	"time"
)

// changeTime returns the time of the last change of an inode.
func changeTime(stat *syscall.Stat_t) time.Time { return time.Unix(stat.Ctimespec.Unix()) }
