// Package httpapi owns the REST face: routes, keys, what a request may ask, and how answers and errors are written.
//
// It asks the warehouse through a small interface of its own, and it never touches SQL, files or the lake. A request
// passes: recovery, headers, route, key, limit of the key, handler; a request log belongs outside of the route.
package httpapi
