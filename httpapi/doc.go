// Package httpapi owns the REST face: routes, keys, what a request may ask, and how answers and errors are written.
//
// It asks the warehouse through a small interface of its own, and it never touches SQL, files or the lake. A request
// passes: recovery, headers, route, key, handler; a request log belongs outside of the route and rate limits
// belong behind the key.
package httpapi
