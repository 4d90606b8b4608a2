//go:build race

package query

// raceDetector says that the process maps far more addresses than any bound of memory would allow.
const raceDetector = true
