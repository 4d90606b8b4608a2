// Package schema describes the rows of tenants: the datasets and their fields, the filters of lists and exports, the
// published exports with their columns, and the outcomes of a merge. It generates the SQL that follows from these
// descriptions: column lists, casts, WHERE clauses and views.
//
// It never opens a database, a file or a connection. It starts no goroutine and has no lock: its variables are
// constant after the start of the program.
package schema
