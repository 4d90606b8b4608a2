package warehouse_test

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

// lakeRows returns the number and a hash of the published rows of a tenant by dataset. The hash is of the columns that
// no repair changes.
func lakeRows(t *testing.T, dir string, tenant uuid.UUID) string {
	t.Helper()
	var all []string
	for _, dataset := range schema.Datasets {
		files := fmt.Sprintf("read_parquet('{lake}/tenant_id=%s/%s/**/*.parquet', hive_partitioning = false)", tenant,
			dataset.Name)
		all = append(all, dataset.Name+" "+QueryLake(t, dir, "SELECT count(*) || ' rows of ' || count(DISTINCT id) || "+
			"' ids with hash ' || sum(hash(source)) FROM "+files+" AS source"))
	}
	return strings.Join(all, "; ")
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
	case "flipped":
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
	case "garbage":
		NoError(t, os.Remove(path))
		NoError(t, os.WriteFile(path, bytes.Repeat([]byte("garbage\n"), 100), 0o600))
	}
}

// TestRepair_EveryDamageOfAFileIsFoundAndRepaired damages each kind of file of tenant A or of the folder in each way. The
// verification names the file and the command, and after that command the folder is sound, tenant B is as before, and
// tenant A has every row that the damage did not destroy: all published ones.
func TestRepair_EveryDamageOfAFileIsFoundAndRepaired(t *testing.T) {
	t.Parallel()
	a := TenantA.String()
	files := map[string]struct {
		pattern string
		tenant  bool     // the finding names tenant A
		none    []string // damages that are no fault
		content bool     // the rows are those of before, else those of the lake with the columns that it has
	}{
		"store":      {pattern: "warehouse/" + a + ".duckdb", tenant: true},
		"log":        {pattern: "warehouse/" + a + ".duckdb.wal", tenant: true, none: []string{"truncated"}},
		"calls":      {pattern: "lake/tenant_id=" + a + "/calls/month=2026-03/calls.parquet", tenant: true, content: true},
		"turns":      {pattern: "published/" + a + "/transcript_turns-2026-04-*", tenant: true, content: true},
		"customers":  {pattern: "published/" + a + "/customers-*", tenant: true, content: true},
		"costs":      {pattern: "lake/tenant_id=" + a + "/cost_daily/month=2026-04/cost_daily.parquet", tenant: true, content: true},
		"control":    {pattern: "control.duckdb", content: true},
		"secret":     {pattern: "signing.key", none: []string{"flipped"}, content: true},
		"mark":       {pattern: "voicory.json", content: true},
		"quarantine": {pattern: "quarantine/*.ndjson", none: []string{"deleted"}, content: true},
	}
	base := soundFolder(t)
	wantA, wantB := lakeRows(t, base, TenantA), lakeRows(t, base, TenantB)
	for name, file := range files {
		for _, kind := range []string{"deleted", "emptied", "truncated", "flipped", "link", "mode", "garbage"} {
			if slices.Contains(file.none, kind) {
				continue
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				dir := soundFolder(t)
				path := only(t, dir, file.pattern)
				damage(t, path, kind)
				found := verifyFolder(t, dir)
				if found.Sound() && !(name == "quarantine" && kind == "flipped") {
					t.Fatal("got no finding")
				}
				for _, f := range found.Findings {
					if _, err := os.Lstat(filepath.Join(dir, filepath.Dir(f.File))); err != nil || f.Effect == "" {
						t.Errorf("got finding %+v, want a path and an effect", f)
					}
					if f.Tenant.Valid != file.tenant || f.Tenant.Valid && f.Tenant.UUID != TenantA {
						t.Errorf("%s: got tenant %v, want one: %v", f.File, f.Tenant, file.tenant)
					}
					if !strings.HasPrefix(f.Command, "voicory repair") && !f.Information {
						t.Errorf("got command %q", f.Command)
					}
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
				if got := lakeRows(t, dir, TenantB); got != wantB {
					t.Errorf("tenant B: got %s, want %s", got, wantB)
				}
				if got := lakeRows(t, dir, TenantA); got != wantA {
					t.Errorf("tenant A: got %s, want %s", got, wantA)
				}
			})
		}
	}
}
