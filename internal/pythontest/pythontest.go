// Package pythontest installs Python packages for tests.
package pythontest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Python returns the path of a Python with the packages, each with its version, in a folder of the user's cache that
// later runs use again. If they cannot be installed, as without a network, the test is skipped.
func Python(t *testing.T, requirements ...string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "voicory-test-python-"+strings.Join(requirements, "-"))
	python, done := filepath.Join(dir, "bin", "python"), filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return python
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	const install = `python3 -m venv "$0" && "$0/bin/pip" install --quiet --disable-pip-version-check "$@"`
	command := exec.CommandContext(t.Context(), "sh", append([]string{"-c", install, dir}, requirements...)...)
	if out, err := command.CombinedOutput(); err != nil {
		t.Skipf("install %s: %v: %.300s", requirements, err, out)
	}
	if err := os.WriteFile(done, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return python
}
