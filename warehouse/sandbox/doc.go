// Package sandbox runs parts of this program in child processes that the kernel confines.
//
// It owns the start and the end of such a process ([Start], [Process]), the limits on its resources ([LimitMemory],
// [LimitCPU]) and its confinement ([Confine]). The parent starts its own executable with an argument that selects the
// part to run. The child has no environment but the one given, its own process group, and only the descriptors that
// [Command] lists. It first limits itself, opens what it needs, calls Confine, and only then reads data that may be
// hostile. Confine cannot be undone.
//
// The package never reads the output of a child, except the beginning of its standard output and error. It knows
// nothing of SQL, file formats or tenants. It imports no other package of this program, so that both ingest and exports
// can use it.
//
// Each [Process] has two goroutines, which return when the child has ended. One is locked to the OS thread that started
// the child, because the kernel kills the child when that thread ends. The other reads its standard output and error.
package sandbox
