// Package worker is the process that runs one SQL statement of a user. [Work] is the whole process. In order, it
//
//  1. opens an in-memory DuckDB with the views of a tenant, which have no rows yet,
//  2. opens the files of the task, binds the views to them, confines itself with package sandbox, and locks DuckDB's
//     settings,
//  3. parses the user's statement, and checks it against an allow list (check.go),
//  4. runs it, and writes the result with package encode.
//
// Nothing of the statement is parsed before step 2 is done. The package never starts a process, never reads a file that
// the task does not name, and never relies on DuckDB's settings alone.
//
// One goroutine fetches rows from DuckDB while another encodes them; at most one chunk waits between them. The fetching
// goroutine and DuckDB's threads may outlive the result: they end with the process. The package holds no locks.
package worker
