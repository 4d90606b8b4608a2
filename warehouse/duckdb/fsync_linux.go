package duckdb

// DuckDB ends the whole instance if a sync fails with EIO: every statement on every database fails until the process
// ends. Any other error of a sync fails the commit or the checkpoint, and gives up the database at most. So the linker
// replaces fsync by a function that returns EREMOTEIO instead.

/*
#cgo LDFLAGS: -Wl,-wrap=fsync
*/
import "C"
