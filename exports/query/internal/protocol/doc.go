// Package protocol defines the messages between the server and a worker process, and the limits that both know.
//
// The server writes [Settings] and then one [Task] as JSON to the worker's standard input. The worker writes [Event]s
// as JSON to one pipe, and the bytes of the result to another.
//
// The package only declares types. It opens no pipe, starts no goroutine and holds no lock.
package protocol
