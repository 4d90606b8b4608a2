//go:build !linux

package warehouse

import "os"

// dropCache does nothing: there is no portable way to remove a file from the kernel's cache.
func dropCache(*os.File) {}
