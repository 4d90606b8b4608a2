//go:build !duckdb_arrow

package duckdb

// A build without the tag duckdb_arrow lacks DuckDB's Arrow interface. It fails here: the compiler prints the undefined
// name, which contains the instruction.
const _ = build_with_make_build__or_pass__tags_duckdb_arrow
