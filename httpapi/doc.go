// Package httpapi implements the HTTP API: routes, authentication, request parameters, responses and errors.
//
// It owns the mapping of requests to calls of the [Store], the admission of requests ([Slots], [Connections]), and
// the mapping of errors to responses. It never runs SQL of its own and never touches the files of the lake: the store
// returns published files already opened. It never uses a tenant id that a client sends: the tenant is that of the
// key.
//
// A request passes these steps in order: access log, metrics and panic recovery; headers common to all responses;
// CORS; route; authentication; rate limits of the key; a slot for its work ([Work]); handler. Handlers return
// errors, and api.handle writes all error responses. Parts that know nothing of keys and rows are in internal/web.
//
// The package starts no goroutines of its own. A revocation, an expiry or a stopping server runs one short function
// in a goroutine, which sets a deadline; the handler that registered it waits for it (web.AfterDone).
//
// Each type guards its own maps with its own lock: unsent, rangeAllowances, idempotencyKeys, [Connections], and the
// limiters. None of these locks is held during I/O, or while another lock is acquired.
package httpapi
