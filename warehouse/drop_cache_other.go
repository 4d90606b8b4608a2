//go:build !linux

package warehouse

import "os"

// dropCache does nothing: other kernels have other calls for this, or none.
func dropCache(*os.File) {}
