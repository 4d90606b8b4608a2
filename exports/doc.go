// Package exports writes rows in bulk: as Parquet, Arrow, CSV or NDJSON, as a stream or as a folder of files.
//
// [Open] returns a [Stream] of one export of a tenant. A stream reads one snapshot, and its memory does not grow with
// the number of rows. [Write] writes the rows of any statement. [WriteBundle] writes a folder of all exports that can
// be read without the server.
//
// DuckDB writes Parquet itself, and formats the lines of CSV and NDJSON; package exports copies its output through a
// pipe. Arrow is read from DuckDB batch by batch.
//
// The package never changes rows, never runs a user's SQL, and knows nothing of HTTP. Each write runs at most two
// goroutines, which end before the write returns. It holds no locks.
package exports
