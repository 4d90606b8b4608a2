// Package ingest owns the way rows come in: which files there are, what they are, how they are cut into batches, and
// what became of their rows.
//
// It hands batches to the warehouse, which types and merges them; it never looks into a row itself, and it knows
// nothing of how rows leave again.
package ingest
