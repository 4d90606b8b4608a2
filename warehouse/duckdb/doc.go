// Package duckdb is the only access of package warehouse to the DuckDB driver. It opens an instance and its
// connections, executes long statements, streams results as Arrow, hands Arrow to statements, and classifies the errors
// of the engine where they leave a connection.
//
// It knows no table, tenant or data folder, and imports no package of this program but arrowbatch.
//
// It starts no goroutine that outlives a call. While a statement runs, the end of its context interrupts the statement
// from another goroutine; the call returns after that goroutine is done. The package has no lock. A connection, and a
// stream of it, must not be used by two goroutines at the same time.
package duckdb
