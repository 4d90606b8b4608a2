package warehouse_test

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

// Keys of another system work here, until they are revoked or gone there; keys made here are none of its business.
func TestTakeKeys(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	const first, second, revoked = "sk_1111111111", "pk_2222222222", "sk_3333333333"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key := func(text string, typ warehouse.KeyType, revokedAt *time.Time) warehouse.TakenKey {
		return warehouse.TakenKey{ID: uuid.New(), Tenant: tenantA, Type: typ, Label: text[:2], Prefix: text[:8], Digest: sha256.Sum256([]byte(text)), CreatedAt: at, RevokedAt: revokedAt}
	}
	keys := []warehouse.TakenKey{key(first, warehouse.Secret, nil), key(second, warehouse.Public, nil), key(revoked, warehouse.Secret, &at), key(first, warehouse.Secret, nil)}
	_, own, err := w.CreateKey(t.Context(), tenantB, warehouse.Secret, warehouse.KeySettings{})
	noError(t, err)
	check := func(wanted map[string]error) {
		t.Helper()
		for text, want := range wanted {
			found, _, err := w.Authenticate(text)
			if want == nil {
				noError(t, err)
			} else {
				wantKind(t, err, want)
			}
			if err == nil && text != own && (found.Tenant != tenantA || found.Source != "db") {
				t.Errorf("%+v", found)
			}
		}
	}
	for range 2 {
		noError(t, w.TakeKeys(t.Context(), "db", keys))
		check(map[string]error{first: nil, second: nil, revoked: warehouse.ErrRevokedKey, own: nil})
	}
	if n := len(w.Keys()); n != 4 {
		t.Errorf("%d keys", n)
	}
	noError(t, w.TakeKeys(t.Context(), "another", nil))
	check(map[string]error{first: nil})
	_, valid, err := w.Authenticate(first)
	noError(t, err)
	keys[0].RevokedAt = &at
	noError(t, w.TakeKeys(t.Context(), "db", keys[:1]))
	for range 2 {
		check(map[string]error{first: warehouse.ErrRevokedKey, second: warehouse.ErrRevokedKey, own: nil})
		noError(t, w.Close())
		w = open(t, dir)
	}
	noError(t, w.Close())
	if valid.Err() == nil {
		t.Error("what began with a key goes on after it was revoked")
	}
}

// Customers are listed in the order of bytes, over all tenants, page by page.
func TestCustomersAfter(t *testing.T) {
	w := openNew(t)
	var want []warehouse.Customer
	high := uuid.MustParse("ffffffff-0000-4000-8000-000000000000")
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		for _, text := range []string{"00000000-0000-4000-8000-000000000001", "7fffffff-0000-4000-8000-000000000000", "80000000-0000-4000-8000-000000000000", high.String()} {
			want = append(want, warehouse.Customer{Tenant: tenant, ID: uuid.MustParse(text)})
			merge(t, w, warehouse.Customers, row{"user_id": tenant, "id": text, "created_at": "2026-01-01"})
		}
	}
	for limit := 1; limit < 10; limit++ {
		var got []warehouse.Customer
		var after warehouse.Customer
		for {
			page, err := w.CustomersAfter(t.Context(), after, limit)
			noError(t, err)
			if len(page) == 0 {
				break
			}
			got, after = append(got, page...), page[len(page)-1]
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("by %d: %v", limit, got)
		}
	}
}
