package rows_test

import (
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// Customers of all tenants are listed in the order of their bytes, page by page.
func TestCustomersAfter_Order(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	var want []warehouse.Customer
	high := uuid.MustParse("ffffffff-0000-4000-8000-000000000000")
	for _, tenant := range []uuid.UUID{TenantA, TenantB} {
		for _, text := range []string{"00000000-0000-4000-8000-000000000001", "7fffffff-0000-4000-8000-000000000000",
			"80000000-0000-4000-8000-000000000000", high.String()} {
			want = append(want, warehouse.Customer{Tenant: tenant, ID: uuid.MustParse(text)})
			Merge(t, w, schema.Customers, Row{"user_id": tenant, "id": text, "created_at": "2026-01-01"})
		}
	}
	for limit := 1; limit < 10; limit++ {
		var got []warehouse.Customer
		var after warehouse.Customer
		for {
			page, err := w.CustomersAfter(t.Context(), after, limit)
			NoError(t, err)
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("pages of %d: got %v, want %v", limit, got, want)
		}
	}
}
