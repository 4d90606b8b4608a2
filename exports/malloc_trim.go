package exports

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void trim_heap(void) { malloc_trim(0); }
#else
static void trim_heap(void) {}
#endif
*/
import "C"

import (
	"sync/atomic"
	"time"
)

// trimInterval is the least time between two calls of malloc_trim. A call takes some milliseconds.
const trimInterval = 100 * time.Millisecond

var lastTrim atomic.Int64 // Unix time in nanoseconds

// trimHeap returns memory that DuckDB has freed to the operating system, at most once per trimInterval. The C library
// keeps freed memory in one arena per thread. Without trimHeap, a long stream would hold several times the memory in
// use.
func trimHeap() {
	now, last := time.Now().UnixNano(), lastTrim.Load()
	if now-last >= int64(trimInterval) && lastTrim.CompareAndSwap(last, now) {
		C.trim_heap()
	}
}
