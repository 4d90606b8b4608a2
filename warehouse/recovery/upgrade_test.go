package recovery_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

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
	NoError(t, Open(t, dir).Close())
	known := len(statements.Migrations("tenant"))
	for version := 1; version <= known; version++ {
		WriteVersion(t, StorePath(dir, Numbered(version)), "tenant", version, rows)
	}
	for _, state := range []string{"upgraded", "opened again"} {
		w := Open(t, dir)
		for version := 1; version <= known; version++ {
			for _, dataset := range schema.Datasets {
				page, err := w.List(t.Context(), Numbered(version), dataset, warehouse.Listing{Limit: 100})
				if err != nil || page.Total != want[dataset.Name] || int64(len(page.Items)) != want[dataset.Name] {
					t.Errorf("version %d, %s: got %d of %d %s and error %v, want %d",
						version, state, len(page.Items), page.Total, dataset.Name, err, want[dataset.Name])
				}
			}
			if state != "upgraded" {
				continue
			}
			Merge(t, w, schema.Calls, Call(Numbered(version), 1, Row{"status": "failed"}))
			_, err := w.PublishTenant(t.Context(), Numbered(version))
			NoError(t, err)
		}
		NoError(t, w.Close())
	}
	for version := 1; version < known; version++ {
		kept := filepath.Join(dir, "repaired", fmt.Sprintf("before-tenant-schema-%d", known), "warehouse",
			Numbered(version).String()+".duckdb")
		got := QueryFile(t, kept+"?access_mode=READ_ONLY", "SELECT max(version) || ' ' || (SELECT count(*) FROM calls) "+
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
		dir := EmptyFolder(t)
		path := filepath.Join(dir, "control.duckdb")
		NoError(t, os.Remove(path))
		NoError(t, os.Remove(filepath.Join(dir, "journal.ndjson")))
		WriteVersion(t, path, "control", version, fmt.Sprintf(`INSERT INTO tenants (id, created_at) VALUES ('%[1]s', now());
			INSERT INTO keys (id, tenant_id, type, label, prefix, sha256, created_at)
				VALUES ('%[2]s', '%[1]s', 'secret', 'old', 'sk_12345', unhex(repeat('01', 32)), now())`, TenantA, TenantB))
		w := Open(t, dir)
		keys := w.Keys()
		if len(keys) != 1 || keys[0].ID != TenantB || keys[0].Tenant != TenantA || keys[0].Type != control.Secret {
			t.Errorf("version %d: got keys %+v, want the one key", version, keys)
		}
		WantCallCount(t, w, TenantA, 0)
		NoError(t, w.Close())
	}
}

// A data folder with a store of a newer version is refused as a whole, by one line that names the file. A changed
// script makes its tenant unavailable.
func TestUpgrade_NewerStoreRefusesTheFolder(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantB, 1, nil))
	NoError(t, w.Close())
	sound := ReadFile(t, StorePath(dir, TenantA))
	ExecFile(t, StorePath(dir, TenantA), "INSERT INTO schema_version VALUES (99, now())")
	_, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	WantKind(t, err, warehouse.ErrInvalid)
	if text := err.Error(); !strings.Contains(text, TenantA.String()+".duckdb") || strings.Contains(text, "\n") {
		t.Errorf("got error %q, want one line that names the file", text)
	}
	NoError(t, os.WriteFile(StorePath(dir, TenantA), []byte(sound), 0o600))
	ExecFile(t, StorePath(dir, TenantA), "UPDATE schema_scripts SET sha256 = 'other' WHERE version = 3")
	w = Open(t, dir)
	_, err = w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 1})
	WantKind(t, err, warehouse.ErrUnavailable)
	WantCallCount(t, w, TenantB, 1)
	NoError(t, w.Close())
}

// TestVerify_StoreOfAnEarlierVersion checks everything that a store of an earlier schema version has, and names the
// rest.
func TestVerify_StoreOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "base")
	w := Open(t, base)
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"created_at": "2026-03-01T10:00:00Z"}))
	_, err := w.Publish(t.Context())
	NoError(t, err)
	NoError(t, w.Close())
	const noFiles = "lists none"
	for _, version := range []int{1, 2, 5, 6, 11, len(statements.Migrations("tenant")) - 1} {
		dir := filepath.Join(t.TempDir(), "data")
		CopyFolder(t, base, dir)
		Downgrade(t, dir, version, "SELECT 1")
		found := VerifyFolder(t, dir)
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
		path, text := onlyFile(t, filepath.Join(dir, "published", TenantA.String(), "cost_daily-*"))
		text[len(text)/2] ^= 0x10
		NoError(t, os.WriteFile(path, text, 0o600)) // also of the file in the lake
		path, _ = onlyFile(t, filepath.Join(dir, "lake", "tenant_id="+TenantA.String(), "calls", "*", "calls.parquet"))
		NoError(t, os.Remove(path))
		ExecFile(t, filepath.Join(dir, "warehouse", TenantA.String()+".duckdb"), "INSERT INTO calls SELECT * FROM calls")
		kinds := map[warehouse.FindingKind]int{}
		for _, f := range VerifyFolder(t, dir).Findings {
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
	NoError(t, err)
	return paths[0], text
}

// A tenant file from before tombstones existed is migrated.
func TestMigration_FileWithoutTombstones(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantA, 2, nil))
	NoError(t, w.Close())
	Downgrade(t, dir, 1, "")
	w = Open(t, dir)
	WantCounts(t, Merge(t, w, schema.Calls, Deletion(1, "2026-06-01")), schema.Counts{Read: 1, Deleted: 1})
	items, _ := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, 10)
	Want(t, fmt.Sprint(IDs(t, items)), fmt.Sprint([]string{ID(2), ID(1)}))
	NoError(t, w.Close())
}
