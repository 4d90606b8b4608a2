//go:build !linux

package sandbox

import "os"

// WidenPipe does nothing: the capacity of a pipe is fixed.
func WidenPipe(*os.File) {}
