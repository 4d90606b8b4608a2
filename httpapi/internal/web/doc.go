// Package web holds the parts of HTTP that know nothing of tenants, keys or rows: the response recorder with its
// deadlines, content negotiation, ranges of files, and error responses.
//
// It owns the state of one response while a handler writes it. It never reads a key, opens a file, or decides what a
// client may see. It starts no goroutines, except the one that runs the function of [AfterDone]. Its only locks
// order that function and its stop; no other lock is taken while one of them is held.
package web
