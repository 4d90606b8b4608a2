// Package control owns the content of the control database: the tenants, the API keys with their settings, the keys
// imported from other systems, the request log, and the last run of each source. It also owns the form of keys, so it
// masks every text that looks like a key.
//
// It never opens a file or attaches a database, reads no rows of tenants, and does not know which tenants have a file.
// Package warehouse opens and migrates the database.
//
// It starts no goroutine. The timers of expiring keys belong to the keys and end with them.
//
// A change of keys takes keyring.changing before keyring.mu, which is never held during I/O. The request log takes
// saving before mu. No other two locks are held together.
package control
