// Package sandbox runs parts of this program in child processes that the kernel confines.
//
// It owns the start and the end of such a process ([Start], [Process]), the limits on its resources ([LimitMemory], [LimitCPU]) and its
// confinement ([Confine]). The parent starts its own executable with an argument that selects the part to run. The child has no
// environment but the one given, its own process group, and only the descriptors that [Command] lists. It first limits itself, opens
// what it needs, calls Confine, and only then reads data that may be hostile. Confine cannot be undone.
//
// The package never reads what a child writes, except the end of its standard error, and knows nothing of SQL, files formats or tenants.
// It imports no other package of this program, so that both ingest and exports can use it.
//
// Each [Process] has one goroutine. It is locked to the OS thread that started the child, because the kernel kills the child when that
// thread ends, and it returns when the child has ended.
package sandbox
