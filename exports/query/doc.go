// Package query runs SQL statements of users over the published rows of one tenant, each in a process of its own.
//
// A [Runner] belongs to the server. It starts one worker process per statement, and kills it when the statement times
// out or is cancelled, or when its result is closed. A worker is this program again ([Work]). The code of the two
// processes is separate:
//
//   - package query is the server's side: requests and their limits, the pool of idle workers, results;
//   - internal/worker is the other process: DuckDB, the check of statements, their execution;
//   - internal/encode writes rows in the formats of results;
//   - internal/protocol has the messages between the two processes.
//
// On one pipe a worker reports its protections, then that the result begins, is complete, or has failed. The result
// itself is on a second pipe. The server does not rely on the worker: it enforces the limits of time and bytes itself.
//
// The package never runs a user's statement in the server's process. It knows nothing of HTTP, API keys, or how many
// queries a client may run at the same time.
//
// A Runner is safe for concurrent use. Runner.mu guards the running queries, workerPool.mu the idle workers; neither is
// held while the other is acquired. workerPool.starting is held while a worker starts, and is acquired before
// workerPool.mu. One goroutine fills the pool, and ends before [Runner.Close] returns.
package query
