// Package querytest holds helpers that the tests of package query and of its internal packages share.
package querytest

import (
	"os"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/voicory/warehouse/internal/pythontest"
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

// ArrowNumbers returns the first column, of type BIGINT, of an Arrow stream.
func ArrowNumbers(t testing.TB, text string) (all []int64) {
	t.Helper()
	reader, err := ipc.NewReader(strings.NewReader(text))
	NoError(t, err)
	defer reader.Release()
	for reader.Next() {
		all = append(all, reader.RecordBatch().Column(0).(*array.Int64).Int64Values()...)
	}
	NoError(t, reader.Err())
	return all
}

// Python returns the path of a Python with pyarrow. If it cannot be installed, the test is skipped.
func Python(t *testing.T) string {
	t.Helper()
	return pythontest.Python(t, "pyarrow==26.0.1")
}
