package duckdb

import bindings "github.com/duckdb/duckdb-go-bindings"

// Version returns the version of the linked DuckDB, such as v1.5.6.
func Version() string { return bindings.LibraryVersion() }
