// Package rows has no code. Its tests merge, delete, refuse, list, follow and publish rows with the exported functions
// of package warehouse. Beside the tests of that package they would take too long: `go test` runs packages in parallel.
package rows
