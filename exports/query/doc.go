// Package query answers SQL of people who may do anything with their own tenant's published rows, and nothing else.
//
// It owns the processes in which statements run: one for each statement, which is this program itself, started by a [Runner] and
// ended by it when its time is up, when nobody waits for the answer any more, or when it is cancelled. Such a worker ([Work]) opens the
// files of one snapshot, makes the relations over them in an in-memory DuckDB, locks DuckDB's settings, and confines itself with package
// sandbox. Only then is anything of the statement looked at. The result leaves by a pipe of its own, in the requested format. A second
// pipe reports whether the result begins, is complete, or has failed.
//
// Rows come out of DuckDB in one of two ways, which what writes them does not see: fetched in their order (pull.go), or, where no order was asked
// for and the format promises none, handed over by the threads that make them (push.go).
//
// It never runs a statement of a user in the server's process, never looks into the text of one, which DuckDB's own parser judges, and
// never trusts DuckDB's settings alone. It knows nothing of HTTP and keys.
package query
