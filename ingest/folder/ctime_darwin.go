package folder

import (
	"syscall"
	"time"
)

// changeTime returns the time of the file's last change of content or metadata (ctime).
func changeTime(stat *syscall.Stat_t) time.Time { return time.Unix(stat.Ctimespec.Unix()) }
