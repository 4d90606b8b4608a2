// Package demo generates the rows of a synthetic tenant for demonstrations, tests and benchmarks: customers, calls with
// dialogues, and messages over one year. Rows have the fields of the platform's database. The same sizes and tenant id
// give the same rows.
//
// It writes NDJSON and does not import the warehouse. It starts no goroutines. All persons, numbers and addresses are
// fictitious.
package demo
