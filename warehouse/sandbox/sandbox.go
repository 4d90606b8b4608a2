package sandbox

import (
	"errors"
	"log/slog"
)

// ErrUnsupported means that the kernel lacks a protection.
var ErrUnsupported = errors.New("the kernel cannot confine a process")

// Policy describes the access that a confined process keeps.
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

// Complete reports whether every protection is active that [Confine] requires of the kernel.
func (p Protections) Complete() bool { return p.Landlock > 0 && p.Seccomp && p.Privileges }

// LogValue returns the protections as a group of attributes.
func (p Protections) LogValue() slog.Value {
	return slog.GroupValue(slog.Int("landlock", p.Landlock), slog.Bool("seccomp", p.Seccomp),
		slog.Bool("privileges_dropped", p.Privileges), slog.Bool("pie", p.PIE), slog.Bool("relro", p.RELRO))
}
