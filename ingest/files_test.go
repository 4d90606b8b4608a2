package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

func TestNames_FormatAndDataset(t *testing.T) {
	for name, want := range map[string]string{
		"calls.ndjson.gz":              "ndjson calls",
		"dump/calls-2026-01.jsonl":     "ndjson calls",
		"call_logs.parquet":            "parquet calls",
		"whatsapp_messages.CSV.zst":    "csv messages",
		"Customers.ndjson":             "ndjson customers",
		"customer calls.csv":           "csv ?",
		"recalls.csv":                  "csv ?",
		"calls.xlsx":                   "? calls",
		"calls.json.gz":                "json calls",
		"messages.arrow":               "arrow messages",
		"customers.ARROWS.zst":         "arrow customers",
		"calls":                        "? calls",
		"-":                            "ndjson ?",
		"messages/2026/export.parquet": "parquet ?",
	} {
		format, dataset := "?", "?"
		if f, err := formatFromName(name); err == nil {
			format = string(f)
		}
		if d, err := datasetFromName(name); err == nil {
			dataset = d.Name
		}
		if got := format + " " + dataset; got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestFind_FoldersAndFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b/calls.ndjson", "a.csv", "README.md", "LICENSE", ".hidden", ".git/x.csv", "notes.xlsx"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := Find([]string{dir, Stdin, filepath.Join(dir, "README.md")})
	if err != nil {
		t.Fatal(err)
	}
	want := "a.csv b/calls.ndjson notes.xlsx - README.md"
	if got := strings.ReplaceAll(strings.Join(found, " "), dir+"/", ""); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := Find([]string{filepath.Join(dir, "missing")}); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("got %v, want %v", err, warehouse.ErrNotFound)
	}
}
