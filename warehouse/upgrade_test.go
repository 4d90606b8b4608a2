package warehouse_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	engine "github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// writeVersion creates the database of a released version: its scripts are applied, and rows are inserted by statements
// of the first version.
func writeVersion(t *testing.T, path, kind string, version int, rows string) {
	t.Helper()
	instance, err := engine.Open(t.Context(), filepath.Dir(path))
	noError(t, err)
	defer func() { noError(t, instance.Close()) }()
	noError(t, instance.AddFunctions(t.Context(), warehouse.ValueFunctions...))
	script := []string{"ATTACH " + statements.Text(path) + " AS old", "USE old",
		"CREATE TABLE schema_version (version INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL)"}
	for i, text := range statements.Migrations(kind)[:version] {
		script = append(script, text, fmt.Sprintf("INSERT INTO schema_version VALUES (%d, now())", i+1))
	}
	db := instance.DB("")
	db.SetMaxOpenConns(1)
	for _, statement := range append(script, rows, "USE memory", "DETACH old") {
		_, err := db.ExecContext(t.Context(), statement)
		noError(t, err)
	}
	noError(t, db.Close())
}

// downgrade replaces tenant A's store by one of an earlier version with the same rows, in the columns that the version
// has, and then changes it by a script. Versions before histories had neither a journal nor a record of commits.
func downgrade(t *testing.T, dir string, version int, script string) {
	t.Helper()
	path := storePath(dir, tenantA)
	writeVersion(t, path+".old", "tenant", version, "SELECT 1")
	columns := func(path string) map[string][]string {
		var tables map[string][]string
		noError(t, json.Unmarshal([]byte(queryFile(t, path+"?access_mode=READ_ONLY",
			`SELECT json_group_object(table_name, names)
			FROM (SELECT table_name, list(column_name ORDER BY column_index) AS names FROM duckdb_columns()
				WHERE NOT internal AND table_name IN (SELECT table_name FROM duckdb_tables()) GROUP BY ALL)`)), &tables))
		return tables
	}
	current, copies := columns(path), ""
	for table, names := range columns(path + ".old") {
		kept := slices.DeleteFunc(names, func(name string) bool { return !slices.Contains(current[table], name) })
		if list := strings.Join(kept, ", "); table != "schema_version" && list != "" {
			copies += fmt.Sprintf("DELETE FROM %[1]s; INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM current.%[1]s;", table, list)
		}
	}
	execFile(t, path+".old", "ATTACH "+statements.Text(path)+" AS current (READ_ONLY); "+copies+"DETACH current; "+script)
	noError(t, os.Rename(path+".old", path))
	execFile(t, filepath.Join(dir, "control.duckdb"), "UPDATE tenants SET history = NULL; DELETE FROM journal")
	noError(t, errors.Join(os.Remove(filepath.Join(dir, "journal.ndjson")), os.Remove(filepath.Join(dir, "commits"))))
}

// The store of every released version opens with every row, is published, and is kept as it was in a copy. The upgraded
// store has an identity.
func TestUpgrade_StoresOfEveryVersion(t *testing.T) {
	t.Parallel()
	const rows = `INSERT INTO calls (id, status, created_at, transcript, _hash, _seq)
			SELECT ('00000000-0000-4000-8000-' || lpad(range::VARCHAR, 12, '0'))::UUID, 'completed',
				TIMESTAMPTZ '2026-03-01 10:00:00Z' + range * INTERVAL 1 DAY, '"Caller: hi"', 1, 1 FROM range(40);
		INSERT INTO customers (id, name, phone_number, created_at, _hash, _seq)
			SELECT ('00000000-0000-4000-8000-' || lpad(range::VARCHAR, 12, '0'))::UUID, 'Asha', '+1 555 010 0' || range,
				TIMESTAMPTZ '2026-03-01 10:00:00Z', 1, 2 FROM range(3);
		INSERT INTO messages (id, direction, from_number, created_at, _hash, _seq)
			SELECT ('00000000-0000-4000-8000-' || lpad(range::VARCHAR, 12, '0'))::UUID, 'inbound', '15550100',
				TIMESTAMPTZ '2026-03-01 10:00:00Z', 1, 3 FROM range(5);
		UPDATE clock SET seq = 3`
	want := map[string]int64{"calls": 40, "customers": 3, "messages": 5}
	dir := t.TempDir()
	noError(t, open(t, dir).Close())
	known := len(statements.Migrations("tenant"))
	for version := 1; version <= known; version++ {
		writeVersion(t, storePath(dir, numbered(version)), "tenant", version, rows)
	}
	for _, state := range []string{"upgraded", "opened again"} {
		w := open(t, dir)
		for version := 1; version <= known; version++ {
			for _, dataset := range schema.Datasets {
				page, err := w.List(t.Context(), numbered(version), dataset, warehouse.Listing{Limit: 100})
				if err != nil || page.Total != want[dataset.Name] || int64(len(page.Items)) != want[dataset.Name] {
					t.Errorf("version %d, %s: got %d of %d %s and error %v, want %d",
						version, state, len(page.Items), page.Total, dataset.Name, err, want[dataset.Name])
				}
			}
			if state != "upgraded" {
				continue
			}
			merge(t, w, schema.Calls, call(numbered(version), 1, row{"status": "failed"}))
			_, err := w.PublishTenant(t.Context(), numbered(version))
			noError(t, err)
		}
		noError(t, w.Close())
	}
	for version := 1; version < known; version++ {
		kept := filepath.Join(dir, "repaired", fmt.Sprintf("before-tenant-schema-%d", known), "warehouse",
			numbered(version).String()+".duckdb")
		got := queryFile(t, kept+"?access_mode=READ_ONLY", "SELECT max(version) || ' ' || (SELECT count(*) FROM calls) "+
			"FROM schema_version")
		if got != fmt.Sprintf("%d 40", version) {
			t.Errorf("copy of version %d: got version and calls %s, want %d 40", version, got, version)
		}
	}
}

// The control database of every released version opens with its tenants and keys.
func TestUpgrade_ControlDatabasesOfEveryVersion(t *testing.T) {
	t.Parallel()
	for version := 1; version <= len(statements.Migrations("control")); version++ {
		dir := emptyFolder(t)
		path := filepath.Join(dir, "control.duckdb")
		noError(t, os.Remove(path))
		noError(t, os.Remove(filepath.Join(dir, "journal.ndjson")))
		writeVersion(t, path, "control", version, fmt.Sprintf(`INSERT INTO tenants (id, created_at) VALUES ('%[1]s', now());
			INSERT INTO keys (id, tenant_id, type, label, prefix, sha256, created_at)
				VALUES ('%[2]s', '%[1]s', 'secret', 'old', 'sk_12345', unhex(repeat('01', 32)), now())`, tenantA, tenantB))
		w := open(t, dir)
		keys := w.Keys()
		if len(keys) != 1 || keys[0].ID != tenantB || keys[0].Tenant != tenantA || keys[0].Type != control.Secret {
			t.Errorf("version %d: got keys %+v, want the one key", version, keys)
		}
		wantCallCount(t, w, tenantA, 0)
		noError(t, w.Close())
	}
}

// A data folder with a store of a newer version is refused as a whole, by one line that names the file. A changed
// script makes its tenant unavailable.
func TestUpgrade_NewerStoreRefusesTheFolder(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil))
	noError(t, w.Close())
	sound := readFile(t, storePath(dir, tenantA))
	execFile(t, storePath(dir, tenantA), "INSERT INTO schema_version VALUES (99, now())")
	_, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	wantKind(t, err, warehouse.ErrInvalid)
	if text := err.Error(); !strings.Contains(text, tenantA.String()+".duckdb") || strings.Contains(text, "\n") {
		t.Errorf("got error %q, want one line that names the file", text)
	}
	noError(t, os.WriteFile(storePath(dir, tenantA), []byte(sound), 0o600))
	execFile(t, storePath(dir, tenantA), "UPDATE schema_scripts SET sha256 = 'other' WHERE version = 3")
	w = open(t, dir)
	wantKind(t, w.OpenTenant(t.Context(), tenantA), warehouse.ErrUnavailable)
	wantCallCount(t, w, tenantB, 1)
	noError(t, w.Close())
}

// TestVerify_StoreOfAnEarlierVersion checks everything that a store of an earlier schema version has, and names the
// rest.
func TestVerify_StoreOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "base")
	w := open(t, base)
	merge(t, w, schema.Calls, call(tenantA, 1, row{"created_at": "2026-03-01T10:00:00Z"}))
	_, err := w.Publish(t.Context())
	noError(t, err)
	noError(t, w.Close())
	const noFiles = "lists none"
	for _, version := range []int{1, 2, 5, 6, 11, len(statements.Migrations("tenant")) - 1} {
		dir := filepath.Join(t.TempDir(), "data")
		copyFolder(t, base, dir)
		downgrade(t, dir, version, "SELECT 1")
		found := verifyFolder(t, dir)
		if !found.Sound() {
			t.Errorf("version %d: got findings %+v", version, found.Findings)
		}
		skipped := ""
		for _, s := range found.Skipped {
			skipped += s.Reason
		}
		if hasNoFiles := strings.Contains(skipped, noFiles); !strings.Contains(skipped, "not compared") ||
			hasNoFiles != (version < 6) {
			t.Errorf("version %d: got skipped %q", version, skipped)
		}
		path, text := onlyFile(t, filepath.Join(dir, "published", tenantA.String(), "cost_daily-*"))
		text[len(text)/2] ^= 0x10
		noError(t, os.WriteFile(path, text, 0o600)) // also of the file in the lake
		path, _ = onlyFile(t, filepath.Join(dir, "lake", "tenant_id="+tenantA.String(), "calls", "*", "calls.parquet"))
		noError(t, os.Remove(path))
		execFile(t, filepath.Join(dir, "warehouse", tenantA.String()+".duckdb"), "INSERT INTO calls SELECT * FROM calls")
		kinds := map[warehouse.FindingKind]int{}
		for _, f := range verifyFolder(t, dir).Findings {
			kinds[f.Kind]++
		}
		want := map[warehouse.FindingKind]int{warehouse.FoundDuplicates: 1, warehouse.FoundPublishedDamaged: 2,
			warehouse.FoundPublishedMissing: 1}
		if version < 6 {
			want = map[warehouse.FindingKind]int{warehouse.FoundDuplicates: 1}
		}
		for kind, n := range want {
			if kinds[kind] != n {
				t.Errorf("version %d: got findings %v, want %v", version, kinds, want)
			}
		}
	}
}

// onlyFile returns the path and the content of the one file that matches the pattern.
func onlyFile(t *testing.T, pattern string) (path string, text []byte) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%s: got %v, %v, want one path", pattern, paths, err)
	}
	text, err = os.ReadFile(paths[0])
	noError(t, err)
	return paths[0], text
}

// A tenant file from before tombstones existed is migrated.
func TestMigration_FileWithoutTombstones(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantA, 2, nil))
	noError(t, w.Close())
	downgrade(t, dir, 1, "")
	w = open(t, dir)
	wantCounts(t, merge(t, w, schema.Calls, deletion(1, "2026-06-01")), schema.Counts{Read: 1, Deleted: 1})
	items, _ := follow(t, w, schema.Calls, warehouse.FeedPosition{}, 10)
	want(t, fmt.Sprint(ids(t, items)), fmt.Sprint([]string{id(2), id(1)}))
	noError(t, w.Close())
}
