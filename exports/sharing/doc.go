// Package sharing presents the exports of a tenant as tables of Delta Sharing, in the formats of its responses.
//
// The tables, their snapshots and the statistics of their files are those of package iceberg. The version of a table is
// the identifier of a snapshot: the time of its publication in microseconds. No column is a partition column, because
// the files contain all columns. Clients find the files of a month by their statistics instead.
//
// Hints of a client only leave out files. A file is left out if the statistics prove that no row of it satisfies the
// predicates. A predicate that this package does not understand leaves out no file.
//
// The package never signs URLs or speaks HTTP. It starts no goroutines and keeps no state.
package sharing
