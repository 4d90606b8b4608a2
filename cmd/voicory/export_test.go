package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/exports"
)

// exportsTo runs exports with the folder open in this process, or in a server.
func exportsTo(t *testing.T, data string) {
	t.Helper()
	dir := t.TempDir()
	base := []string{"export", "--data", data, "--tenant", someTenant}
	export := func(status int, args ...string) result {
		t.Helper()
		return wantStatus(t, run(t, "", append(base, args...)...), status)
	}
	for _, format := range exports.Formats {
		file := filepath.Join(dir, "calls"+format.Extension())
		got := export(exitDone, "calls", "-o", file, "--json")
		content, err := os.ReadFile(file)
		noError(t, err)
		if !strings.Contains(got.stdout, `"rows": 2,`) || !strings.Contains(got.stdout, `"as_of": "20`) || len(content) == 0 {
			t.Errorf("%s: %s", format, got.stdout)
		}
	}
	if got := export(exitDone, "calls", "--format", "csv", "--columns", "id,created_at", "--from", "2026-03-01", "--to", "2026-03-01"); got.stdout !=
		"id,created_at\n00000000-0000-4000-8000-000000000001,2026-03-01T10:00:00.000Z\n00000000-0000-4000-8000-000000000002,2026-03-01T10:00:00.000Z\n" &&
		!strings.HasPrefix(got.stdout, "id,created_at\n00000000-0000-4000-8000-000000000002") {
		t.Error(got.stdout)
	}
	if got := export(exitDone, "calls", "--to", "2026-03-01T09:59:59.999Z"); got.stdout != "" {
		t.Error(got.stdout)
	}
	for _, wrong := range [][]string{{"nothing"}, {"calls", "--format", "xlsx"}, {"calls", "-o", filepath.Join(dir, "x.txt")}, {"calls", "--from", "yesterday"},
		{"calls", "--columns", "_seq", "-o", filepath.Join(dir, "x.csv")}} {
		export(exitUsage, wrong...)
	}
	if got := wantStatus(t, run(t, "", "export", "--data", data, "--tenant", "bbbbbbbb-0000-4000-8000-000000000009", "calls", "-o", filepath.Join(dir, "x.csv")), exitFailed); !strings.Contains(got.stderr, "tenants list") {
		t.Error(got.stderr)
	}
	files, err := os.ReadDir(dir)
	noError(t, err)
	if len(files) != len(exports.Formats) {
		t.Error(files)
	}
}

func TestExport(t *testing.T) {
	data := t.TempDir()
	wantStatus(t, run(t, callLine(1)+callLine(2), "ingest", "--data", data, "--dataset", "calls", "-"), exitDone)
	exportsTo(t, data)
	_, stop := serve(t, data)
	exportsTo(t, data)
	stop()
}

// A file that is not finished never has its name, and one that was there stays.
func TestUnfinishedFileIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "calls.csv")
	noError(t, os.WriteFile(path, []byte("before"), 0o600))
	err := writeWhole(path, func(out io.Writer) error {
		_, err := io.WriteString(out, "half")
		return errors.Join(err, context.Canceled)
	})
	files, readErr := os.ReadDir(filepath.Dir(path))
	noError(t, readErr)
	content, readErr := os.ReadFile(path)
	noError(t, readErr)
	if !errors.Is(err, context.Canceled) || len(files) != 1 || string(content) != "before" {
		t.Error(err, files, string(content))
	}
}
