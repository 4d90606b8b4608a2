// Package httpapi owns the REST face: routes, keys, what a request may ask, and how answers and errors are written.
//
// It asks the warehouse through a small interface of its own, and it never touches SQL or the lake; a published file comes from there
// already open, to be sent. A request passes: observation (its id, the log, metrics, panics), headers of every
// answer, CORS, route, key, limits of the key, room for its work, handler. Handlers return errors; one place writes them.
package httpapi
