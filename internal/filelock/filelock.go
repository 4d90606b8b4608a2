// Package filelock locks a file, so that one process at a time uses the folder that the file belongs to. The lock of a
// process is released when the process ends, at the latest.
package filelock

import (
	"errors"
	"os"
	"syscall"
)

// TryLock takes the lock of the file. It returns an error at once if an open file of this or another process has it.
func TryLock(file *os.File) error {
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}

// Close releases the lock of the file, if it has the lock, and closes the file. A child process that is being started
// shares the open file until it executes its program. Until then, os.File.Close alone would leave the file locked.
func Close(file *os.File) error {
	return errors.Join(syscall.Flock(int(file.Fd()), syscall.LOCK_UN), file.Close())
}
