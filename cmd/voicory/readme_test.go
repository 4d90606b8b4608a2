package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2" // runs the SQL blocks of the README

	"github.com/voicory/warehouse/ingest/demo"
)

// lakeDigest returns the number of rows of a dataset in the lake and a hash of all their values.
func lakeDigest(t *testing.T, data, dataset string) string {
	t.Helper()
	return queryDuckDB(t, fmt.Sprintf(
		"SELECT count(*) || ' rows, ' || bit_xor(hash(rows)) FROM read_parquet('%s/lake/tenant_id=*/%s.parquet') AS rows",
		data, dataset))
}

// queryDuckDB runs a query in DuckDB and returns the first column of the first row.
func queryDuckDB(t *testing.T, statement string) string {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), statement)
	noError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	noError(t, err)
	if !rows.Next() || rows.Err() != nil {
		t.Fatalf("no rows: %s: %v", statement, rows.Err())
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	noError(t, rows.Scan(values...))
	return fmt.Sprint(*(values[0].(*any)))
}

var fence = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

// installProgram creates a script bin/voicory in the folder that runs this test binary as the program.
func installProgram(t *testing.T, dir string) {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	noError(t, os.WriteFile(filepath.Join(dir, "bin", "voicory"),
		[]byte("#!/bin/sh\n"+runAsProgram+"=yes exec "+os.Args[0]+" \"$@\"\n"), 0o755)) //nolint:gosec // a program
}

// All commands of the README run in order in one folder. Blocks of kind sh must exit with status 0, and blocks of kind
// sql must return rows. Other blocks show output or diagrams and are not run.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	noError(t, err)
	root, err := filepath.Abs("../..")
	noError(t, err)
	dir := t.TempDir()
	installProgram(t, dir)
	noError(t, os.MkdirAll(filepath.Join(dir, "dump"), 0o755))
	writeDump(t, filepath.Join(dir, "dump"), demo.Tenant{ID: demoTenant.ID, Calls: 50, Customers: 10, Messages: 70})
	shell := func(ctx context.Context, script string) *exec.Cmd {
		command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
		command.Dir = dir
		return command
	}

	// `make run` is not run, because the test cannot use port 8080. Other tests run its commands.
	if out, err := exec.CommandContext(t.Context(), "make", "-n", "-C", root, "run", "test", "lint", "bench",
		"build").CombinedOutput(); err != nil {
		t.Fatalf("a make target of the README is missing: %v %s", err, out)
	} else if !strings.Contains(string(out), "go build -buildmode=pie") || !strings.Contains(string(out),
		"bin/voicory demo\n") {
		t.Errorf("make: got %s, want a position-independent program that creates the demo tenant", out)
	}
	copyDemo(t, filepath.Join(dir, "data"))
	url, stop := serve(t, filepath.Join(dir, "data"))
	served := true

	// Variables that a block sets are kept for later blocks, in the file environment.
	noError(t, os.WriteFile(filepath.Join(dir, "environment"), nil, 0o600))
	variable := regexp.MustCompile(`(?m)^([A-Z]+)=`)
	ran := 0
	for _, block := range fence.FindAllStringSubmatch(string(readme), -1) {
		kind, text := block[1], strings.ReplaceAll(block[2], "http://localhost:8080", url)
		switch {
		case kind == "sql":
			queryDuckDB(t, strings.ReplaceAll(text, "'data/lake", "'"+dir+"/data/lake"))
		case kind != "sh" || strings.HasPrefix(text, "make "):
			continue
		case strings.Contains(text, "voicory serve"):
			if served { // the server is already running, so only the flags are checked
				if out, err := shell(t.Context(), strings.TrimSpace(text)+" --help").CombinedOutput(); err != nil {
					t.Errorf("%s: %v %s", text, err, out)
				}
			}
		default:
			script := ". ./environment\n" + text
			for _, set := range variable.FindAllStringSubmatch(text, -1) {
				script += "\ndeclare -p " + set[1] + " >> environment"
			}
			out, err := shell(t.Context(), script).CombinedOutput()
			if err != nil || strings.Contains(string(out), `"error"`) {
				t.Errorf("%s: %v\n%s", text, err, out)
			}
		}
		ran++
	}
	if ran < 6 {
		t.Errorf("got %d blocks of the README, want at least 6", ran)
	}
	stop()
}
