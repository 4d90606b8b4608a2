package recovery_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// lakeRows returns the number and a hash of the published rows of tenants A and B by dataset. The hash is of the
// columns that no repair changes.
func lakeRows(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	for _, tenant := range []uuid.UUID{TenantA, TenantB} {
		for _, dataset := range schema.Datasets {
			all = append(all, fmt.Sprintf("(SELECT '%s %s: ' || count(*) || ' rows of ' || count(DISTINCT id) || "+
				"' ids with hash ' || sum(hash(_row)) FROM read_parquet('{lake}/tenant_id=%[1]s/%[2]s/**/*.parquet', "+
				"hive_partitioning = false) AS _row)", tenant, dataset.Name))
		}
	}
	return QueryLake(t, dir, strings.Join(all, " || '; ' || "))
}

// only returns the one path that matches the pattern in the data folder.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s: got %v, %v, want a path", pattern, paths, err)
	}
	return paths[0]
}

// foreignName returns a pattern of the path that the other tenant has for a file of one. The digest in a name differs.
func foreignName(path string) string {
	other := strings.Replace(path, TenantA.String(), TenantB.String(), 1)
	if other == path {
		other = strings.Replace(path, TenantB.String(), TenantA.String(), 1)
	}
	if other == path {
		return ""
	}
	if strings.Contains(path, "/published/") {
		other = other[:strings.LastIndexByte(other, '-')] + "-*"
	}
	return other
}

func damage(t *testing.T, path, kind string) {
	t.Helper()
	text, err := os.ReadFile(path)
	NoError(t, err)
	at := len(text) / 2
	switch kind {
	case "deleted":
		NoError(t, os.RemoveAll(path))
	case "emptied":
		NoError(t, os.Truncate(path, 0))
	case "truncated":
		NoError(t, os.Truncate(path, int64(at)))
	case "flipped", "length flipped":
		if kind == "length flipped" { // of the second entry of a log
			at = secondEntry(t, string(text)) + 5
		}
		file, err := os.OpenFile(path, os.O_WRONLY, 0)
		NoError(t, err)
		_, err = file.WriteAt([]byte{text[at] ^ 0x10}, int64(at))
		NoError(t, err)
		NoError(t, file.Close())
	case "link":
		target := filepath.Join(t.TempDir(), "target")
		NoError(t, os.WriteFile(target, text, 0o600))
		NoError(t, os.Remove(path))
		NoError(t, os.Symlink(target, path))
	case "mode":
		NoError(t, os.Chmod(path, 0o666))
	case "foreign": // the file of the other tenant, if there is one
		if other, err := filepath.Glob(foreignName(path)); err == nil && len(other) > 0 {
			text, err := os.ReadFile(other[0])
			NoError(t, err)
			NoError(t, os.Remove(path))
			NoError(t, os.WriteFile(path, text, 0o600))
		}
	case "garbage":
		NoError(t, os.Remove(path))
		NoError(t, os.WriteFile(path, bytes.Repeat([]byte("garbage\n"), 100), 0o600))
	}
}

// TestRepair_EveryDamageOfAFileIsFoundAndRepaired damages the store of tenant A and the log of tenant B, or all other
// kinds of files, in each way. The verification names each file and a command. After that command the folder is sound,
// and each tenant has every row that the damage did not destroy, which are all published ones. Without -faults.all,
// damages that need the same repair are tried once.
func TestRepair_EveryDamageOfAFileIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	a, b := TenantA.String(), TenantB.String()
	type file struct {
		pattern string
		none    []string // damages that are no faults
	}
	store, log := file{pattern: "warehouse/" + a + ".duckdb"}, file{pattern: "warehouse/" + b + ".duckdb.wal"}
	others := []file{
		{pattern: "lake/tenant_id=" + a + "/calls/month=2026-03/calls.parquet"},
		{pattern: "published/" + a + "/transcript_turns-2026-03-*"},
		{pattern: "published/" + a + "/customers-*"},
		{pattern: "lake/tenant_id=" + a + "/cost_daily/month=2026-03/cost_daily.parquet"},
		{pattern: "control.duckdb", none: []string{"foreign"}},
		{pattern: "signing.key", none: []string{"flipped", "foreign"}},
		{pattern: "voicory.json", none: []string{"foreign"}},
		{pattern: "quarantine/*.ndjson", none: []string{"deleted", "flipped", "foreign"}},
	}
	type damaged struct {
		file
		kind string
	}
	cases := [][]damaged{
		{{store, "deleted"}, {log, "length flipped"}},
		{{store, "truncated"}, {log, "foreign"}},
		{{store, "flipped"}, {log, "deleted"}},
		{{store, "link"}, {log, "truncated"}},
		{{store, "foreign"}},
	}
	if *allFaults {
		cases = append(cases, []damaged{{store, "garbage"}, {log, "emptied"}}, []damaged{{log, "flipped"}})
	}
	for _, kind := range []string{"deleted", "emptied", "truncated", "flipped", "link", "mode", "foreign"} {
		if kind == "emptied" && !*allFaults {
			continue
		}
		var list []damaged
		if kind == "mode" {
			list = append(list, damaged{store, kind})
		}
		for _, f := range others {
			list = append(list, damaged{f, kind})
		}
		cases = append(cases, list)
	}
	want := lakeRows(t, SoundFolder(t))
	for _, files := range cases {
		t.Run(filepath.Base(files[0].pattern)+" "+files[0].kind, func(t *testing.T) {
			t.Parallel()
			dir := SoundFolder(t)
			var missing []string // paths without a finding
			for _, f := range files {
				path := only(t, dir, f.pattern)
				damage(t, path, f.kind)
				if !slices.Contains(f.none, f.kind) {
					missing = append(missing, strings.TrimPrefix(path, dir+"/"))
				}
			}
			for _, f := range VerifyFolder(t, dir).Findings {
				missing = slices.DeleteFunc(missing, func(name string) bool {
					return name == f.File || name == f.File+".wal" // a store that lacks commits
				})
				tenant := uuid.NullUUID{UUID: TenantA, Valid: strings.Contains(f.File, a)}
				if strings.Contains(f.File, b) {
					tenant = uuid.NullUUID{UUID: TenantB, Valid: true}
				}
				if f.Tenant.Valid != tenant.Valid || f.Tenant.Valid && f.Tenant != tenant {
					t.Errorf("%s: got tenant %v", f.File, f.Tenant)
				}
				if f.Effect == "" || !f.Information && !strings.HasPrefix(f.Command, "voicory repair") {
					t.Errorf("got finding %+v, want an effect and a command", f)
				}
			}
			if len(missing) > 0 {
				t.Errorf("got no finding about %v", missing)
			}
			repaired, err := warehouse.RepairFolder(context.Background(), warehouse.Options{Dir: dir},
				warehouse.RepairOptions{})
			NoError(t, err)
			for _, r := range repaired.Repairs {
				t.Logf("%s: %s: %s: %s%s", r.Kind, r.File, r.Detail, r.Done, r.Failed)
			}
			for _, f := range repaired.Remaining {
				t.Errorf("remaining finding %s: %s: %s", f.Kind, f.File, f.Detail)
			}
			if got := lakeRows(t, dir); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestRepair_RowsThatBreakARule changes rows of a store behind the back of the program.
func TestRepair_RowsThatBreakARule(t *testing.T) {
	t.Parallel()
	dir := SoundFolder(t)
	NoError(t, Open(t, dir).Close()) // writes the rows to the files
	want := lakeRows(t, dir)
	closed := filepath.Join(t.TempDir(), "closed")
	CopyFolder(t, dir, closed)
	for _, c := range []struct {
		name, change string
		kind         warehouse.FindingKind
	}{
		{"an id twice", "INSERT INTO customers SELECT * FROM customers LIMIT 1", warehouse.FoundDuplicates},
		{"a row that is deleted", "INSERT INTO tombstones " +
			"SELECT 'messages', id, now(), _seq - 1, false FROM messages LIMIT 1",
			warehouse.FoundDeletedRows},
		{"a number of no commit", "UPDATE clock SET seq = 1", warehouse.FoundSequence},
		{"a row that is not published", "INSERT INTO messages BY NAME SELECT * REPLACE (uuid() AS id) FROM messages LIMIT 1",
			warehouse.FoundDifference},
		{"a value that is not published", "UPDATE customers SET name = 'another' WHERE id = (SELECT min(id) FROM customers)",
			warehouse.FoundDifference},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			CopyFolder(t, closed, dir)
			ExecFile(t, filepath.Join(dir, "warehouse", TenantA.String()+".duckdb"), c.change)
			repaired, err := warehouse.RepairFolder(context.Background(), warehouse.Options{Dir: dir},
				warehouse.RepairOptions{Tenant: TenantA})
			NoError(t, err)
			if !slices.ContainsFunc(repaired.Repairs, func(r warehouse.Repair) bool {
				return r.Kind == c.kind && r.Tenant.UUID == TenantA
			}) {
				t.Errorf("got repairs %+v, want one of %s", repaired.Repairs, c.kind)
			}
			if len(repaired.Remaining) > 0 {
				t.Errorf("remaining: %+v", repaired.Remaining)
			}
			if got := lakeRows(t, dir); c.kind != warehouse.FoundDifference && got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

// TestRepair_OpenFolder repairs files of an open warehouse while a reader of another tenant uses it.
func TestRepair_OpenFolder(t *testing.T) {
	t.Parallel()
	dir := SoundFolder(t)
	want := lakeRows(t, dir)
	w := Open(t, dir)
	reader, err := w.Snapshot(t.Context(), TenantB)
	NoError(t, err)
	damage(t, filepath.Join(dir, "warehouse", TenantA.String()+".duckdb"), "truncated")
	NoError(t, os.RemoveAll(filepath.Join(dir, "published", TenantB.String())))
	NoError(t, os.WriteFile(filepath.Join(dir, "lake", "notes.txt"), nil, 0o644))
	NoError(t, os.Chmod(filepath.Join(dir, "quarantine"), 0o755))
	plan, err := w.Repair(t.Context(), warehouse.RepairOptions{DryRun: true})
	NoError(t, err)
	if len(plan.Repairs) < 4 || plan.Kept != "" {
		t.Errorf("dry run: got %+v, want four repairs and no copies", plan)
	}
	repaired, err := w.Repair(t.Context(), warehouse.RepairOptions{})
	NoError(t, err)
	if len(repaired.Remaining) > 0 {
		t.Errorf("got repairs %+v, remaining %+v", repaired.Repairs, repaired.Remaining)
	}
	NoError(t, reader.Close())
	NoError(t, w.Close())
	if got := lakeRows(t, dir); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	kept := filepath.Join(dir, repaired.Kept, "warehouse", TenantA.String()+".duckdb")
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("copy of the damaged store: %v", err)
	}
}

// TestRepair_ForeignFolderIsRefused protects a folder of other files, which would all be strays.
func TestRepair_ForeignFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := warehouse.VerifyFolder(t.Context(), warehouse.Options{Dir: dir}, uuid.Nil)
	WantKind(t, err, warehouse.ErrNotFound)
	NoError(t, os.WriteFile(filepath.Join(dir, "letter.txt"), nil, 0o600))
	_, err = warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
	WantKind(t, err, warehouse.ErrInvalid)
	if files := Files(t, dir); len(files) != 1 || files[0] != "letter.txt" {
		t.Errorf("got files %v", files)
	}
}

func TestRepair_KeepsTheFilesOfTheLastRepairs(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	kept := filepath.Join(w.Dir(), "repaired")
	for n := range 12 {
		NoError(t, os.MkdirAll(filepath.Join(kept, fmt.Sprintf("2026-01-%02dT000000.000Z", n+1)), 0o700))
	}
	NoError(t, os.MkdirAll(filepath.Join(kept, "before-tenant-schema-1"), 0o700))
	NoError(t, os.WriteFile(filepath.Join(w.Dir(), "notes.txt"), nil, 0o600))
	repaired, err := w.Repair(t.Context(), warehouse.RepairOptions{})
	NoError(t, err)
	entries, err := os.ReadDir(kept)
	NoError(t, err)
	if len(entries) != 11 || entries[0].Name() != "2026-01-04T000000.000Z" ||
		entries[10].Name() != "before-tenant-schema-1" {
		t.Errorf("got %v, want the last 10 repairs and the copies of the upgrade", entries)
	}
	if len(repaired.Repairs) != 1 || repaired.Repairs[0].Kind != warehouse.FoundStray {
		t.Errorf("got repairs %+v, want one stray", repaired.Repairs)
	}
}
