package sandbox

import "errors"

// ErrUnsupported means that the kernel lacks a protection.
var ErrUnsupported = errors.New("the kernel cannot confine a process")

// Policy describes what a confined process keeps.
type Policy struct {
	ReadFiles        []int // open descriptors that DuckDB may read as /dev/fd/N
	AllowUnsupported bool  // apply the protections that the kernel has, instead of failing if it lacks one
}

// Protections lists the protections that are active in a process.
type Protections struct {
	Landlock   int  `json:"landlock"`   // ABI version; 0: the kernel has none
	Seccomp    bool `json:"seccomp"`    // only the listed system calls are allowed
	Privileges bool `json:"privileges"` // no capabilities, no way to get privileges, not dumpable
	PIE        bool `json:"pie"`        // the program is loaded at a random address
	RELRO      bool `json:"relro"`      // the tables of linked functions are read-only
}
