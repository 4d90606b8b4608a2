// Package admin runs the operations of the operator on a data folder: in this process, or in the server that has the
// folder open. It owns the operator's socket with both of its ends, and the types of all requests and results.
//
// An operation is one variable, such as [CreateKey], with the types of its request and its result and the function that
// runs it on an open folder. The variable registers its handler, so that client and server cannot differ. An
// [Operation] returns one result and can report progress, a [Download] writes a result of any size, and [Ingest] sends
// files. The end of the context cancels an operation, also if a server runs it.
//
// The package never reads flags, never prints, and has no rules about rows: those are in package warehouse.
//
// # Goroutines
//
// [Ingest] starts one that sends the files to a server. It ends with the request, or with the process if a read of its
// input blocks for ever. The server runs each request in the goroutine of net/http.
//
// # Lock order
//
// The only lock of this package orders the reports of one operation. It is held while one report is delivered, and no
// other lock is taken then.
package admin
