//go:build !linux

package exports

import "os"

// widen does nothing where a pipe has the size it has.
func widen(*os.File) {}
