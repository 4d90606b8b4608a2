// Package schedule pulls sources into the warehouse: once for a command, or repeatedly on the schedule of their jobs.
// It owns the record of each run, from which it reports the status of the sources and their metrics.
//
// It never opens a source, reads a configuration or prints: its caller hands over each source.
//
// # Goroutines
//
// The package starts none. The caller runs each function that [Scheduler.Loops] returns in a goroutine of its own.
//
// # Lock order
//
// Scheduler.mu guards the runs in progress and the totals. It is never held during a call of the warehouse or of a
// source.
package schedule
