// Package exports owns the formats in which rows leave in bulk, and the streams of what is exported: one state of a tenant's rows,
// written as it is read, in memory that does not grow with it.
//
// [Write] writes the rows of any statement. [Open] prepares the stream of an export. DuckDB itself writes Parquet, and the
// lines of CSV and NDJSON that a statement makes, into a pipe; Arrow is read from it batch by batch.
package exports
