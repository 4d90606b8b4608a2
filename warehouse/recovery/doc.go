// Package recovery has no code. Its tests damage, verify, repair and upgrade whole data folders with the exported
// functions of package warehouse. Beside the tests of that package they would take too long: `go test` runs packages in
// parallel.
package recovery
