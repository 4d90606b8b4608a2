// Package limit decides whether a request is allowed, with sliding windows: in any period of the length of a rule's
// window, at most the rule's number of requests are allowed. Refused requests do not count.
//
// It has two limiters with the same behaviour: [Memory] within the process, and [Redis], which several servers share.
// [Fallback] combines them. The package imports nothing about HTTP, keys or tenants. It starts no goroutines. All
// limiters are safe for concurrent use; the mutex of Memory is never held during a request to Redis.
package limit
