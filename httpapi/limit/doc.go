// Package limit says whether one more request may pass, in true sliding windows: in any stretch of time as long as a
// rule's window, no more than the rule's number of requests pass. A request that may not pass does not count.
//
// It has two limiters that behave alike: one in the memory of the process, and one in Redis, which several servers share.
// It knows nothing of HTTP, keys or tenants.
package limit
