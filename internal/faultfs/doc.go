// Package faultfs mounts a folder as a file system whose operations fail on demand, for tests. A [Rule] selects the
// operations that fail, how often they fail, and the error. [FS.PowerCut] writes to another folder the content of a
// disk after a power cut at that moment.
//
// The file system is served by a child process, which is the program itself, started again. A process that served the
// file system that it uses could block itself: Go's runtime does not expect a fork or an exec to wait for a goroutine.
//
// Everything that no rule concerns passes through to the folder: reads, memory maps, and locks, which the kernel keeps.
// The package is for Linux with /dev/fuse. Only tests and the torture harness may import it.
package faultfs
