//go:build !linux

package backup

import (
	"errors"
	"os"
)

// linkFile fails: a hard link to an open file cannot be created in a portable way, so files are copied.
func linkFile(*os.File, string) error { return errors.ErrUnsupported }

// dropCache does nothing.
func dropCache(*os.File) {}
