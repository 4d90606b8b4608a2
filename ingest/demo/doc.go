// Package demo invents a tenant: customers, calls with dialogues, and messages over one year, in the shape in which the
// platform's database holds them, always the same for the same numbers. It is for trying the warehouse and measuring it.
//
// It writes NDJSON and knows nothing of the warehouse. No person, number or address in it is real.
package demo
