// Package sql owns every SQL statement of the project, one .sql file each, embedded in the binary,
// and the migrations of the two kinds of database: the control database and a tenant's.
//
// It never runs a statement and knows nothing of connections: [Get] hands out text, [Ident] and
// [Text] quote the few things that cannot be bound as parameters.
package sql
