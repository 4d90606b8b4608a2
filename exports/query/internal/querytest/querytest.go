// Package querytest holds helpers that the tests of package query and of its internal packages share.
package querytest

import (
	"os"
	"strings"
	"testing"
)

// NoError fails the test if err is not nil.
func NoError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ReadStatements returns the lines of a file of statements, without comments. A backslash continues a line.
func ReadStatements(t testing.TB, name string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	NoError(t, err)
	for line := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", "\x01"), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, strings.ReplaceAll(line, "\x01", "\n"))
		}
	}
	return all
}
