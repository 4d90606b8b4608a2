// Package ingest owns the way rows come in: which files there are, what they are, how they are cut into batches, what became
// of their rows, and how sources are pulled: each by one run at a time, each going on where it was. What is peculiar about a kind
// of source is in a package below.
//
// It hands batches to the warehouse, which types and merges them; it never looks into a row of JSON itself, and it knows
// nothing of how rows leave again.
package ingest
