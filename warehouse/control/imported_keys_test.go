package control_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// Imported keys are valid until they are revoked at the source or missing from it. Keys created here are not affected.
func TestImportKeys_MatchesSource(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	const first, second, revoked = "sk_1111111111", "pk_2222222222", "sk_3333333333"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key := func(text string, typ control.KeyType, revokedAt *time.Time) control.ImportedKey {
		return control.ImportedKey{ID: uuid.New(), Tenant: tenantA, Type: typ, Label: text[:2], Prefix: text[:8],
			Digest: sha256.Sum256([]byte(text)), CreatedAt: at, RevokedAt: revokedAt}
	}
	keys := []control.ImportedKey{key(first, control.Secret, nil), key(second, control.Public, nil),
		key(revoked, control.Secret, &at), key(first, control.Secret, nil)}
	_, own, err := w.CreateKey(t.Context(), tenantB, control.Secret, control.KeySettings{})
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
		noError(t, w.ImportKeys(t.Context(), control.KeySource{Name: "db"}, keys))
		check(map[string]error{first: nil, second: nil, revoked: warehouse.ErrRevokedKey, own: nil})
	}
	if n := len(w.Keys()); n != 4 {
		t.Errorf("got %d keys, want 4", n)
	}
	noError(t, w.ImportKeys(t.Context(), control.KeySource{Name: "another"}, nil))
	check(map[string]error{first: nil})
	_, valid, err := w.Authenticate(first)
	noError(t, err)
	keys[0].RevokedAt = &at
	noError(t, w.ImportKeys(t.Context(), control.KeySource{Name: "db"}, keys[:1]))
	for range 2 {
		check(map[string]error{first: warehouse.ErrRevokedKey, second: warehouse.ErrRevokedKey, own: nil})
		noError(t, w.Close())
		w = open(t, dir)
	}
	noError(t, w.Close())
	if valid.Err() == nil {
		t.Error("the context of a revoked key is not done")
	}
}
