// Package torture tests the server as a whole under faults. All of it is test code.
//
// A history is a random sequence of steps against the real program on one data folder: pushes, deletions, repeated
// pushes, followers of the change feed, exports, SQL, files, keys and publications, which run at the same time, and
// faults. After each fault the server must start, by itself or after the command that it names, and must keep the
// promises that docs/reliability.md lists. The harness counts each try there.
//
// A seed determines the steps of a history, but not how requests that run at the same time interleave. A failed history
// prints its seed and its steps, and keeps its data folder.
package torture
