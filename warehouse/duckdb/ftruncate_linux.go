package duckdb

// If a commit fails, DuckDB cuts its entries off the log. If the disk refuses this too, DuckDB ends the process. So the
// linker replaces ftruncate by a function that reports success for a log that cannot be cut, and leaves a descriptor
// with which DuckDB can only read the log. Every later commit of this database fails, until it is attached again: no
// entry follows the remains of the failed commit.

/*
#cgo LDFLAGS: -Wl,-wrap=ftruncate
*/
import "C"
