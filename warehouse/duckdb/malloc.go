package duckdb

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim_memory(void) { malloc_trim(0); }
static size_t allocated(void) { struct mallinfo2 info = mallinfo2(); return info.uordblks + info.hblkhd; }
#else
static void trim_memory(void) {}
static size_t allocated(void) { return 0; }
#endif
*/
import "C"

// TrimMemory returns the free pages of the C allocator to the operating system.
//
// DuckDB allocates plans, catalogs and small buffers on whichever thread runs a statement. The GNU C library gives each
// thread one of several arenas, and returns memory of an arena only from its end. Under mixed load, the free pages
// between objects take 20 to 100 MB. A call takes milliseconds. With other C libraries, it does nothing.
func TrimMemory() { C.trim_memory() }

// AllocatedBytes returns the bytes that C and C++ code has allocated with malloc and has not freed. It includes
// DuckDB's memory for catalogs, plans and records of buffers, and excludes the buffers themselves, which have another
// allocator. It returns 0 with other C libraries than that of GNU.
func AllocatedBytes() uint64 { return uint64(C.allocated()) }
