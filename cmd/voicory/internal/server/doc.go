// Package server runs the server: it opens the data folder, starts the background work, listens, and shuts down. It
// owns the configuration file of the sources, and the listeners with TLS and the timeouts of clients. It connects the
// API with its limits, and bounds the length of a shutdown.
//
// It never reads flags and never prints. Handlers and their rules are in packages httpapi and admin.
//
// # Goroutines
//
// [Run] starts one goroutine per scheduled source, one that publishes, one that upgrades published files, one that
// writes the request log, one per listener, and those of net/http. All of them have ended when it returns. A shutdown
// that takes too long ends the process instead.
//
// # Lock order
//
// stopWatch.mu guards the names of the running work. The lock of the TLS configuration guards the current certificate.
// No other lock is taken while one of them is held.
package server
