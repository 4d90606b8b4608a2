package control

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// A logClock returns the time from which the age of entries of the request log is counted, to delete old ones. A wrong
// wall clock must not empty the log, so the clock of the machine counts only if the log or the monotonic clock confirms
// it.
type logClock struct {
	started time.Time
	newest  time.Time // time of the newest entry at the start; zero: there was none
}

const (
	// plausiblePause is the longest time between two entries of the log for which the clock needs no confirmation.
	plausiblePause = 24 * time.Hour
	// clockTolerance is the difference between the wall clock and the monotonic clock since the start that is tolerated.
	clockTolerance = time.Minute
)

// loadLogClock reads the time of the newest entry.
func loadLogClock(ctx context.Context, db *sql.DB) (logClock, error) {
	clock := logClock{started: time.Now()}
	var newest sql.NullTime
	if err := db.QueryRowContext(ctx, "SELECT max(received_at) FROM requests").Scan(&newest); err != nil {
		return clock, fmt.Errorf("read request log: %w", err)
	}
	clock.newest = newest.Time
	return clock, nil
}

// at returns now if it is at most plausiblePause after the newest entry, or if the process has run for so long and the
// wall clock was not moved meanwhile. Otherwise it returns the time of the newest entry at the start. ran is the time
// since the start by the monotonic clock.
func (c logClock) at(now time.Time, ran time.Duration) time.Time {
	moved := now.Round(0).Sub(c.started.Round(0)) - ran
	switch {
	case c.newest.IsZero(), now.Sub(c.newest) <= plausiblePause:
		return now
	case ran >= plausiblePause && moved.Abs() <= clockTolerance:
		return now
	}
	return c.newest
}
