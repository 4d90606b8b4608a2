// Package atomicfile writes files and folders so that a reader, even after a crash, sees the whole old content or the
// whole new one. It owns the form of the temporary names.
//
// It works below an [os.Root], so a symbolic link cannot lead a write outside the folder. It never follows a symbolic
// link at the name itself, and never sets modes: the function that creates the content does.
//
// The package starts no goroutine and has no locks.
package atomicfile
