package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

func TestVersion_NamesTheEngines(t *testing.T) {
	t.Parallel()
	text := run(t, "", "version")
	if text.status != 0 || !strings.Contains(text.stdout, "DuckDB   v") ||
		!strings.Contains(text.stdout, runtime.Version()) {
		t.Errorf("got %d %q %q", text.status, text.stdout, text.stderr)
	}
	var v versions
	if err := json.Unmarshal([]byte(run(t, "", "version", "--json").stdout), &v); err != nil || v.DuckDB == "" ||
		v.Platform == "" {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestLicenses_ArePrinted(t *testing.T) {
	got := mustRun(t, "", "licenses")
	for _, part := range []string{"github.com/apache/arrow-go/v18 v18", "DuckDB: icu", "Apache License"} {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("no %q", part)
		}
	}
}
