// Package warehouse owns what is kept: the control database (tenants and their keys), one DuckDB file per tenant, the
// merge of incoming rows into it, the pages read from it, and the publishing of every change as Parquet into the lake.
// It also owns the kinds of error that the whole program speaks.
//
// One process owns a data folder. Tenants share one DuckDB instance (one memory limit, one thread pool), each attached
// on demand as a database of its own; every connection stands in exactly one tenant's database, so that no statement
// carries a tenant condition that could be forgotten.
//
// It never reads a source, speaks HTTP or prints.
package warehouse
