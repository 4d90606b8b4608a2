// Package httpapi implements the HTTP API: routes, authentication, request parameters, responses and errors.
//
// It reads and writes data only through the [Store] interface and the functions in [Options]. It holds no SQL and
// does not touch the files of the lake: the store returns published files already opened.
//
// A request passes these steps in order: access log, metrics and panic recovery; headers common to all responses;
// CORS; route; authentication; rate limits of the key; a slot for its work ([Work]); handler. Handlers return
// errors, and api.handle writes all error responses.
package httpapi
