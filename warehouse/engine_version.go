package warehouse

import bindings "github.com/duckdb/duckdb-go-bindings"

// EngineVersion returns the version of the linked DuckDB, such as v1.5.6.
func EngineVersion() string { return bindings.LibraryVersion() }
