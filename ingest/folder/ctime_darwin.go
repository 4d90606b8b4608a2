package folder

import (
	"io/fs"
	"syscall"
	"time"
)

// changeTime returns the time of the file's last change of content or metadata (ctime). It returns false if the file
// system does not provide it.
func changeTime(info fs.FileInfo) (time.Time, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(stat.Ctimespec.Unix()).UTC(), true
}
