// Package ingest loads rows into the warehouse. It finds input files, recognizes their formats and compression, cuts
// rows into batches, and counts the outcome of each row. The packages below it implement the kinds of source. Package
// schedule pulls them: each source has at most one run at a time, and a run continues from the state that the previous
// one saved. Package filereader reads Parquet and Arrow.
//
// The warehouse types and merges the batches. This package never parses the values in a JSON row, and never reads
// rows back.
//
// Load stages the next batch in one goroutine while it merges the current batch in another; both end before Load
// returns. The package holds no locks.
package ingest
