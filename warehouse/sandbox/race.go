//go:build race

package sandbox

// raceDetector is true if the race detector is built in. It maps far more addresses than any memory limit would allow.
const raceDetector = true
