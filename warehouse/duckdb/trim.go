package duckdb

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim_memory(void) { malloc_trim(0); }
#else
static void trim_memory(void) {}
#endif
*/
import "C"

// TrimMemory returns the free pages of the C allocator to the operating system.
//
// DuckDB allocates plans, catalogs and small buffers on whichever thread runs a statement. The GNU C library gives each
// thread one of several arenas, and returns memory of an arena only from its end. Under mixed load, the free pages
// between objects take 20 to 100 MB. A call takes milliseconds. With other C libraries, it does nothing.
func TrimMemory() { C.trim_memory() }
