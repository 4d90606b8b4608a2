// Package analytics computes the figures of reports and searches transcripts, each from one snapshot of a tenant.
//
// It never writes rows, and knows neither files nor tenants: snapshots hide where the rows are read from.
//
// It starts no goroutine and has no lock. Figures, and a search while it runs, hold the reader slot of their snapshot.
package analytics
