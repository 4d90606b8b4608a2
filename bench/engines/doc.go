// Package engines checks that engines read the tables of tenants and those of all tenants. Its test runs Spark, Trino,
// ClickHouse, DuckDB, PyIceberg and Polars with the examples of docs/tables.md, while rows are published. `make
// engines` runs it and writes docs/engines.md. It downloads the engines into the cache of the user, and is not part of
// the other tests.
package engines
