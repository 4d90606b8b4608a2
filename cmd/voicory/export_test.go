package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Exports are written in every format and with a filter, and invalid arguments are refused. Without a server, which
// runs the same operation, one export of each outcome is enough.
func TestExport_Formats(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	mustRun(t, callLine(1)+callLine(2), "ingest", "--data", data, "--dataset", "calls", "-")
	dir := t.TempDir()
	base := []string{"export", "--data", data, "--tenant", someTenant}
	export := func(status int, args ...string) result {
		t.Helper()
		return wantStatus(t, run(t, "", append(base, args...)...), status)
	}
	checkFiltered := func() {
		t.Helper()
		got := export(exitDone, "calls", "--format", "csv", "--columns", "id,created_at", "--from", "2026-03-01", "--to",
			"2026-03-01").stdout
		if want := []string{"00000000-0000-4000-8000-000000000001,2026-03-01T10:00:00.000Z\n",
			"00000000-0000-4000-8000-000000000002,2026-03-01T10:00:00.000Z\n",
			"id,created_at\n"}; !slices.Equal(slices.Sorted(strings.Lines(got)), want) {
			t.Errorf("got %q, want the lines %q", got, want)
		}
	}
	checkFiltered()
	export(exitUsage, "calls", "--columns", "_seq", "-o", filepath.Join(dir, "x.csv"))
	serve(t, data)
	for _, format := range exports.Formats {
		file := filepath.Join(dir, "calls"+format.Extension())
		got := export(exitDone, "calls", "-o", file, "--json")
		content, err := os.ReadFile(file)
		noError(t, err)
		if !strings.Contains(got.stdout, `"rows": 2,`) || !strings.Contains(got.stdout, `"as_of": "20`) || len(content) == 0 {
			t.Errorf("%s: %s", format, got.stdout)
		}
	}
	checkFiltered()
	if got := export(exitDone, "calls", "--to", "2026-03-01T09:59:59.999Z"); got.stdout != "" {
		t.Error(got.stdout)
	}
	for _, wrong := range [][]string{{"nothing"}, {"calls", "--format", "xlsx"},
		{"calls", "-o", filepath.Join(dir, "x.txt")}, {"calls", "--from", "yesterday"},
		{"calls", "--columns", "_seq", "-o", filepath.Join(dir, "x.csv")}} {
		export(exitUsage, wrong...)
	}
	if got := wantStatus(t, run(t, "", "export", "--data", data, "--tenant", "bbbbbbbb-0000-4000-8000-000000000009",
		"calls", "-o", filepath.Join(dir, "x.csv")), exitFailed); !strings.Contains(got.stderr, "tenants list") {
		t.Error(got.stderr)
	}
	files, err := os.ReadDir(dir)
	noError(t, err)
	if len(files) != len(exports.Formats) {
		t.Error(files)
	}
}

// If writing fails, the previous file stays and the temporary file is removed.
func TestWriteFileAtomic_FailureKeepsOldFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "calls.csv")
	noError(t, os.WriteFile(path, []byte("before"), 0o600))
	err := (&Main{}).writeFileAtomic(path, func(out io.Writer) error {
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

// checkBundle exports a bundle and compares its files with the published ones.
func checkBundle(t *testing.T, data string) {
	t.Helper()
	at := filepath.Join(t.TempDir(), "a folder's")
	all := []string{"export", "--data", data, "--tenant", someTenant, "all", "-o", at, "--json"}
	var bundle exports.Bundle
	noError(t, json.Unmarshal([]byte(mustRun(t, "", all...).stdout), &bundle))
	wantStatus(t, run(t, "", all...), exitUsage) // the folder is not empty
	readme, err := os.ReadFile(filepath.Join(at, exports.ReadmeFile))
	noError(t, err)
	for _, file := range bundle.Files {
		if info, err := os.Stat(filepath.Join(at, file.Path)); err != nil || info.Size() != file.Bytes ||
			!strings.Contains(string(readme), "`"+file.Path+"`") {
			t.Error(file, err)
		}
	}
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	path := strings.ReplaceAll(at, "'", "''")
	for _, export := range schema.Exports {
		for _, column := range export.Columns {
			if !strings.Contains(string(readme), "| `"+column.Name+"` | `"+column.Type+"` | "+column.Description) {
				t.Errorf("the README does not describe %s.%s", export.Name, column.Name)
			}
		}
		rows := func(files string) (rows string) {
			noError(t, db.QueryRowContext(t.Context(),
				"SELECT coalesce(string_agg(r::VARCHAR, chr(10) ORDER BY r::VARCHAR), '') FROM (SELECT "+
					"COLUMNS(c -> c <> 'tenant_id') FROM read_parquet('"+files+"', hive_partitioning = true)) AS r").Scan(&rows))
			return rows
		}
		files := "/" + export.Name + "/**/*.parquet"
		if bundle.Rows[export.Name] == 0 {
			if _, err := os.Stat(filepath.Join(at, export.Name)); !errors.Is(err, os.ErrNotExist) {
				t.Error(export.Name, err)
			}
			continue
		}
		if got, want := rows(path+files), rows(data+"/lake/tenant_id="+someTenant+files); got != want {
			t.Errorf("%s: got %s, want %s", export.Name, got, want)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(at), ".*"))
	noError(t, err)
	temp, err := filepath.Glob(filepath.Join(data, "tmp", "*"))
	noError(t, err)
	if len(left)+len(temp) > 0 || bundle.Rows["calls"] != 3 || bundle.Rows["transcript_turns"] != 2 ||
		len(bundle.Files) != 7 {
		t.Error(left, temp, bundle)
	}
}

func TestExport_Bundle(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	_, stop := serve(t, data)
	later := strings.ReplaceAll(callLine(3), "2026-03-01", "2026-04-01")
	later = strings.Replace(later, "{", `{"transcript":"AI: hi\nCaller: hello",`, 1)
	mustRun(t, callLine(1)+callLine(2)+later, "ingest", "--data", data, "--dataset", "calls", "-")
	mustRun(t, `{"user_id":"`+someTenant+`","id":"`+uuid.NewString()+`","created_at":"2026-03-01T10:00:00Z","name":"Ada"}`+
		"\n", "ingest", "--data", data, "--dataset", "customers", "-")
	checkBundle(t, data)
	stop()
	checkBundle(t, data)
	for _, wrong := range [][]string{{}, {"-o", filepath.Join(data, "x"), "--from", "2026-01-01"}, {"-o", data}} {
		wantStatus(t, run(t, "", append([]string{"export", "--data", data, "--tenant", someTenant, "all"}, wrong...)...),
			exitUsage)
	}
	wantStatus(t, run(t, "", "export", "--data", data, "--tenant", uuid.NewString(), "all", "-o",
		filepath.Join(data, "x")), exitFailed)
}

// If writing fails, neither the folder nor a temporary folder exists.
func TestWriteFolderAtomic_FailureLeavesNoFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder")
	ctx, cancel := context.WithCancel(t.Context())
	err := (&Main{}).writeFolderAtomic(path, func(dir string) error {
		noError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
		cancel()
		return ctx.Err()
	})
	files, readErr := os.ReadDir(filepath.Dir(path))
	noError(t, readErr)
	if !errors.Is(err, context.Canceled) || len(files) != 0 {
		t.Error(err, files)
	}
}
