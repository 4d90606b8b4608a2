package rows_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// Damage of one tenant's store keeps no row of another tenant out, and is an error that names the tenant.
// Merging the same rows again, after the store is back, adds those of this tenant.
func TestMerge_DamagedTenantDoesNotStopOthers(t *testing.T) {
	tenants := []uuid.UUID{Numbered(1), Numbered(2), Numbered(3)}
	damaged := tenants[1]
	damages := map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"garbage": func(path string) error { return os.WriteFile(path, make([]byte, 1<<20), 0o600) },
		"foreign": func(path string) error {
			text, err := os.ReadFile(filepath.Join(filepath.Dir(path), tenants[0].String()+".duckdb"))
			return errors.Join(err, os.WriteFile(path, text, 0o600))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := Open(t, dir)
			var first, second []any
			for _, tenant := range tenants {
				first, second = append(first, Call(tenant, 1, nil)), append(second, Call(tenant, 2, nil))
			}
			Merge(t, w, schema.Calls, first...)
			NoError(t, w.Close())
			path := filepath.Join(dir, "warehouse", damaged.String()+".duckdb")
			kept, err := os.ReadFile(path)
			NoError(t, err)
			NoError(t, damage(path))
			w = Open(t, dir)
			counts, _, err := w.Merge(t.Context(),
				warehouse.Batch{Dataset: schema.Calls, Origin: "test.ndjson", Rows: Lines(t, second...)})
			unmerged := (*warehouse.UnmergedError)(nil)
			if !errors.As(err, &unmerged) || len(unmerged.Tenants) != 1 || unmerged.Tenants[damaged] == nil {
				t.Fatalf("got error %v, want one of tenant %s", err, damaged)
			}
			WantKind(t, err, warehouse.ErrUnavailable)
			WantCounts(t, counts, schema.Counts{Read: 3, New: 2})
			NoError(t, w.Close())
			NoError(t, os.WriteFile(path, kept, 0o600))
			w = Open(t, dir)
			WantCounts(t, Merge(t, w, schema.Calls, second...), schema.Counts{Read: 3, New: 1, Unchanged: 2})
			NoError(t, w.Close())
		})
	}
}
