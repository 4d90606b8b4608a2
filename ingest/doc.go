// Package ingest owns the way rows come in: it finds files and recognizes their formats, cuts rows into batches, and counts what
// becomes of them. It also pulls sources, each by one run at a time that continues where the last one ended. Packages below it know the
// kinds of source, and package filereader reads Parquet and Arrow.
//
// It hands batches to the warehouse, which types and merges them. It never looks into a row of JSON itself, and knows nothing of how
// rows leave again.
package ingest
