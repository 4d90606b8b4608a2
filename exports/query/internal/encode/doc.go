// Package encode writes the rows of a query in the formats JSON, CSV, NDJSON, Arrow and Parquet.
//
// It owns the form of each value in each format, and the limit of a result: a [Sink] never accepts more bytes than the
// limit, and an [Encoder] stops before the first row that does not fit, so that the result is complete in its format.
//
// The package never runs SQL, never calls DuckDB, and imports neither package worker nor package query. It starts no
// goroutine and holds no lock. An Encoder is used by one goroutine.
package encode
