package duckdb

// If a commit fails, DuckDB truncates the log to remove the entries of the commit. If the disk refuses the truncation,
// DuckDB ends the process. So the linker replaces ftruncate by a function that reports success for a log that cannot be
// truncated, and makes the descriptor of the log read-only. Every later commit of this database fails until it is
// attached again, so no entry follows the remains of the failed commit.

/*
#cgo LDFLAGS: -Wl,-wrap=ftruncate
*/
import "C"
