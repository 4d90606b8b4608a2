package sandbox

import "errors"

// ErrUnsupported means that the kernel lacks a protection.
var ErrUnsupported = errors.New("the kernel cannot confine a process")

// Policy describes what a confined process keeps.
type Policy struct {
	ReadFiles        []int // descriptors of files that it may open again for reading, through /dev/fd
	AllowUnsupported bool  // apply the protections that the kernel has, instead of failing if it lacks one
}

// Protections lists the protections that are active in a process.
type Protections struct {
	Landlock int  `json:"landlock"` // ABI version; 0: the kernel does not restrict file access
	Seccomp  bool `json:"seccomp"`  // system calls are filtered
}
