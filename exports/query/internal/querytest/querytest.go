// Package querytest holds helpers that the tests of package query and of its internal packages share.
package querytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
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

// requirements are the Python packages that tests read results with.
const requirements = "pyarrow==26.0.1\n"

// Python returns the path of a Python with pyarrow, in a folder of the user's cache that later runs use again. If it
// cannot be installed, as without a network, the test is skipped.
func Python(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	NoError(t, err)
	dir := filepath.Join(cache, "voicory-test-python-"+strings.TrimSpace(requirements))
	python, done := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return python
	}
	NoError(t, os.RemoveAll(dir))
	const install = `python3 -m venv "$1" && printf %s "$2" > "$1/requirements.txt" &&
		"$1/bin/pip" install --quiet --disable-pip-version-check -r "$1/requirements.txt"`
	command := exec.CommandContext(t.Context(), "sh", "-c", install, "sh", dir, requirements)
	if out, err := command.CombinedOutput(); err != nil {
		t.Skipf("install %s: %v: %.300s", requirements, err, out)
	}
	NoError(t, os.WriteFile(done, nil, 0o600))
	return python
}
