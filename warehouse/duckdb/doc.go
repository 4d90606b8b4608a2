// Package duckdb is the only access of package warehouse to the DuckDB driver. It opens an instance and its
// connections, executes long statements, streams results as Arrow, hands Arrow to statements, and classifies the errors
// of the engine where they leave a connection.
//
// It also reads what DuckDB leaves on the disk without opening a database: the checksums of blocks, the blocks that an
// interrupted checkpoint has left half-written, and the entries of a log. Two functions of the C library, fsync and
// ftruncate, are replaced at the link, because DuckDB ends the process or the instance when they fail.
//
// It knows no table, tenant or data folder, and imports no package of this program but arrowbatch.
//
// It starts no goroutine that outlives a call. While a statement runs, the end of its context interrupts the statement
// from another goroutine; the call returns after that goroutine is done. The package has no lock. A connection, and a
// stream of it, must not be used by two goroutines at the same time.
package duckdb
