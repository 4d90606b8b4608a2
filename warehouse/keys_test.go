package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	key, text, err := w.CreateKey(t.Context(), tenantA, warehouse.Public, "dashboard")
	noError(t, err)
	if !strings.HasPrefix(text, "pk_") || len(text) != 35 {
		t.Fatalf("key is %q", text)
	}
	_, secret, err := w.CreateKey(t.Context(), tenantB, warehouse.Secret, "")
	noError(t, err)
	found, err := w.Authenticate(text)
	noError(t, err)
	if found != key || found.Tenant != tenantA {
		t.Fatalf("found %+v", found)
	}
	for _, wrong := range []string{"", "pk_", text[:34], text + "x", "sk_" + text[3:], " " + text, "pk_short1!", strings.Repeat("a", 200), "pk_" + strings.Repeat("a", 126)} {
		_, err := w.Authenticate(wrong)
		wantKind(t, err, warehouse.ErrInvalidKey)
	}
	_, err = w.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	_, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
	again, err := w.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	if again.RevokedAt == nil {
		t.Fatal("a key revoked twice is not revoked")
	}
	_, err = w.RevokeKey(t.Context(), uuid.New())
	wantKind(t, err, warehouse.ErrNotFound)
	_, _, err = w.CreateKey(t.Context(), tenantA, "admin", "")
	wantKind(t, err, warehouse.ErrInvalid)
	noError(t, w.Close())

	// All of it is still so after a restart, and the key's text is nowhere on the disk.
	w = open(t, dir)
	_, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
	_, err = w.Authenticate(secret)
	noError(t, err)
	if keys := w.Keys(); len(keys) != 2 || keys[0].ID != key.ID {
		t.Fatalf("keys are %+v", keys)
	}
	noError(t, w.Close())
	for _, file := range files(t, dir) {
		content, err := os.ReadFile(filepath.Join(dir, file))
		noError(t, err)
		if strings.Contains(string(content), text[8:]) || strings.Contains(string(content), secret[8:]) {
			t.Errorf("%s holds a key", file)
		}
	}
}
