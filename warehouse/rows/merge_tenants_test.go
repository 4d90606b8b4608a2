package rows_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A batch with the same ids for many tenants, which are classified together, changes each tenant by its own rows only.
func TestMerge_TenantsOfBatchAreIndependent(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 5))
	w := OpenNew(t)
	tenants, kept := make([]uuid.UUID, 12), make([]model, 12)
	for i := range tenants {
		tenants[i], kept[i] = TenantA, model{}
		tenants[i][0] = byte(random.IntN(256)) // in another order than their rows come in
		tenants[i][15] = byte(i)
	}
	for step := range 9 {
		var rows []any
		for i, tenant := range tenants {
			var batch []version
			for range random.IntN(6) {
				v := version{n: random.IntN(3), deleted: random.IntN(2) == 0, at: 1 + step + random.IntN(20),
					status: fmt.Sprint(random.IntN(4)), month: 1 + random.IntN(3)}
				if !v.deleted && random.IntN(3) == 0 {
					v.at = 0
				}
				batch = append(batch, v)
				rows = append(rows, With(v.row(), Row{"user_id": tenant}))
			}
			kept[i].merge(batch)
		}
		counts := Merge(t, w, schema.Calls, rows...)
		sum := counts.New + counts.Changed + counts.Unchanged + counts.Deleted + counts.Superseded
		if counts.Read != sum || sum != int64(len(rows)) {
			t.Fatalf("step %d: got %+v, want a sum of %d", step, counts, len(rows))
		}
		for i, tenant := range tenants {
			if len(kept[i]) == 0 || step%3 < 2 {
				continue // a tenant without rows has no file, and a later step shows the rows of this one
			}
			feed, err := w.Changes(t.Context(), tenant, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 100)
			NoError(t, err)
			found := map[string]string{}
			for _, item := range feed.Items {
				c := changedItem(t, item)
				found[c.ID] = c.Status + c.DeletedAt
			}
			if len(found) != len(feed.Items) || !maps.Equal(found, kept[i].shown()) {
				t.Fatalf("step %d: tenant %d: got %v, want %v", step, i, found, kept[i].shown())
			}
		}
	}
}
