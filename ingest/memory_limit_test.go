package ingest_test

import (
	"strings"
	"testing"
)

// skipMemoryLimit skips a test that expects the memory limit of the file reader to be the reason. The race detector
// maps more memory than any limit allows, so the file reader has no limit with it.
func skipMemoryLimit(t *testing.T, reason string) {
	t.Helper()
	if raceDetector && strings.Contains(reason, "MiB of memory") {
		t.Skip("the race detector needs more memory than the limit")
	}
}
