package duckdb_test

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	bindings "github.com/duckdb/duckdb-go-bindings"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// Freed memory between objects that are in use is returned.
func TestTrimMemory_ReturnsFreePages(t *testing.T) {
	if _, err := os.Stat("/proc/self/statm"); err != nil {
		t.Skip("no /proc")
	}
	runtime.LockOSThread() // one arena
	defer runtime.UnlockOSThread()
	const blocks, size, kept = 10_000, 8 << 10, 100
	objects, text := make([]bindings.Value, blocks), strings.Repeat("x", size)
	for i := range objects {
		objects[i] = bindings.CreateVarchar(text)
	}
	full := residentPages(t)
	for i := range objects {
		if i%kept != 0 {
			bindings.DestroyValue(&objects[i])
		}
	}
	defer func() {
		for i := 0; i < blocks; i += kept {
			bindings.DestroyValue(&objects[i])
		}
	}()
	duckdb.TrimMemory()
	freed, allocated := (full-residentPages(t))*os.Getpagesize(), blocks*size
	if freed < allocated/2 {
		t.Errorf("got %d bytes returned of %d, want at least half", freed, allocated)
	}
}

// residentPages returns the number of pages of this process that are in memory.
func residentPages(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	noError(t, err)
	pages, err := strconv.Atoi(string(bytes.Fields(text)[1]))
	noError(t, err)
	return pages
}
