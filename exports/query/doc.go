// Package query runs SQL statements of users over the published rows of one tenant, each in a process of its own.
//
// # Processes
//
// A [Runner] belongs to the server. It starts one worker process per statement, and kills it when the statement times
// out or is cancelled, or when its result is closed. A worker is this program again ([Work]). In order, a worker
//
//  1. opens the files of one snapshot, and creates the views over them in an in-memory DuckDB,
//  2. confines itself with package sandbox, and locks DuckDB's settings,
//  3. parses the user's statement, and checks it against an allow list (check.go),
//  4. runs it, and writes the result in the requested format to a pipe.
//
// On a second pipe it reports its protections, then that the result begins, is complete, or has failed. Nothing of the
// statement is parsed before step 2 is done.
//
// # Rows
//
// A worker reads rows from DuckDB in one of two ways. rows_fetch.go fetches them in order. rows_callback.go receives
// them from DuckDB's threads, in no order; it is used if neither the format nor the statement requires one.
//
// # Limits
//
// The package never runs a user's statement in the server's process, and never relies on DuckDB's settings alone. It
// knows nothing of HTTP, API keys, or how many queries a client may run at the same time.
//
// # Concurrency
//
// A [Runner] is safe for concurrent use. Runner.mu guards the running queries, workerPool.mu the idle workers; neither
// is held while the other is acquired. workerPool.starting is held while a worker starts, and is acquired before
// workerPool.mu. One goroutine fills the pool, and ends before [Runner.Close] returns. A worker runs at most one
// fetching goroutine beside DuckDB's threads, and ends with its process.
package query
