package server

import (
	"testing"
	"time"
)

// Pauses after failures are short and grow to those of a publisher with little work. They leave two thirds of the time.
func TestPublishPause_ShorterAfterFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		took     time.Duration
		failures int
		want     time.Duration
	}{
		{time.Millisecond, 0, 5 * time.Second},
		{time.Second, 0, 19 * time.Second},
		{time.Millisecond, 1, time.Second},
		{time.Millisecond, 2, 2 * time.Second},
		{time.Millisecond, 4, 5 * time.Second},
		{time.Millisecond, 1_000, 5 * time.Second},
		{10 * time.Second, 1, 20 * time.Second},
	} {
		if got := publishPause(test.took, test.failures); got != test.want {
			t.Errorf("%v and %d failures: got %v, want %v", test.took, test.failures, got, test.want)
		}
	}
}
