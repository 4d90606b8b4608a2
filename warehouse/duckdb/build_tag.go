//go:build !duckdb_arrow

package duckdb

// A build without the tag duckdb_arrow lacks DuckDB's Arrow interface. It ends here, with the name that says what to
// do.
const _ = build_with_make_build__or_pass__tags_duckdb_arrow
