package exports

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
static void give_back(void) { malloc_trim(0); }
#else
static void give_back(void) {}
#endif
*/
import "C"

import (
	"sync/atomic"
	"time"
)

// trimEvery bounds how often memory is given back, which takes some milliseconds.
const trimEvery = 100 * time.Millisecond

var trimmed atomic.Int64 // when, last

// trim gives what DuckDB has freed back to the system. The C library keeps it, in a heap for each of many threads: a long stream would
// come to hold several times of what it needs at a time.
func trim() {
	now, last := time.Now().UnixNano(), trimmed.Load()
	if now-last >= int64(trimEvery) && trimmed.CompareAndSwap(last, now) {
		C.give_back()
	}
}
