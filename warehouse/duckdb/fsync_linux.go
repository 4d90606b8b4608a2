package duckdb

// DuckDB invalidates the whole instance if a sync fails with EIO: every statement on every database fails until the
// process ends. After any other error of a sync, the commit or the checkpoint fails, and DuckDB invalidates at most its
// database. So the linker replaces fsync by a function that returns EREMOTEIO instead.

/*
#cgo LDFLAGS: -Wl,-wrap=fsync
*/
import "C"
