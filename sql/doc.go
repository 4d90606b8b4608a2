// Package sql holds the fixed SQL statements of the project, one .sql file each, embedded in the binary, and the
// migrations of the control database and of the tenants' databases. Statements with generated lists of columns are
// assembled in Go, by the package that owns the columns.
//
// It never runs a statement and opens no connections. It starts no goroutines and holds no locks; its functions are
// safe for concurrent use.
//
// [Get] returns a statement and [Fill] replaces its slots. [Ident] and [Text] quote names and texts that cannot be
// bound as parameters.
package sql
