package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

func TestKeys_Lifecycle(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Public, control.KeySettings{Label: "dashboard"})
	noError(t, err)
	if !strings.HasPrefix(text, "pk_") || len(text) != 35 {
		t.Fatalf("got key %q, want pk_ and 32 characters", text)
	}
	_, secret, err := w.CreateKey(t.Context(), tenantB, control.Secret, control.KeySettings{})
	noError(t, err)
	found, valid, err := w.Authenticate(text)
	noError(t, err)
	if found.ID != key.ID || found.Tenant != tenantA || found.LastUsedAt == nil || valid.Err() != nil {
		t.Fatalf("found %+v", found)
	}
	for _, wrong := range []string{"", "pk_", text[:34], text + "x", "sk_" + text[3:], " " + text, "pk_short1!",
		strings.Repeat("a", 200), "pk_" + strings.Repeat("a", 126)} {
		_, _, err := w.Authenticate(wrong)
		wantKind(t, err, warehouse.ErrInvalidKey)
	}
	_, err = w.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	wantKind(t, context.Cause(valid), warehouse.ErrRevokedKey) // what began with the key ends
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
	again, err := w.RevokeKey(t.Context(), key.ID)
	noError(t, err)
	if again.RevokedAt == nil {
		t.Fatal("a key that was revoked twice is not revoked")
	}
	_, err = w.RevokeKey(t.Context(), uuid.New())
	wantKind(t, err, warehouse.ErrNotFound)
	_, _, err = w.CreateKey(t.Context(), tenantA, "admin", control.KeySettings{})
	wantKind(t, err, warehouse.ErrInvalid)
	noError(t, w.Close())

	// The keys survive a restart, and their texts are not stored on disk.
	w = open(t, dir)
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrRevokedKey)
	_, _, err = w.Authenticate(secret)
	noError(t, err)
	if keys := w.Keys(); len(keys) != 2 || keys[0].ID != key.ID {
		t.Fatalf("got keys %+v, want 2", keys)
	}
	noError(t, w.Close())
	for _, file := range files(t, dir) {
		content, err := os.ReadFile(filepath.Join(dir, file))
		noError(t, err)
		if strings.Contains(string(content), text[8:]) || strings.Contains(string(content), secret[8:]) {
			t.Errorf("%s contains the text of a key", file)
		}
	}
}

// Settings apply immediately and survive a restart, as does the time of the last use.
func TestKeys_Settings(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	soon := time.Now().Add(time.Hour)
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Public,
		control.KeySettings{Label: "page", ExpiresAt: &soon, Origins: []string{"https://app.example.com"}})
	noError(t, err)
	if key.LastUsedAt != nil || !key.AllowsOrigin("https://app.example.com") ||
		key.AllowsOrigin("https://other.example.com") {
		t.Errorf("%+v", key)
	}
	_, valid, err := w.Authenticate(text)
	noError(t, err)
	past := time.Now().Add(-time.Second)
	changed, err := w.UpdateKey(t.Context(), key.ID,
		control.KeySettings{Label: "page", ExpiresAt: &past, RateLimit: "5/1s"})
	noError(t, err)
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrExpiredKey)
	if changed.Origins == nil || changed.AllowsOrigin("https://app.example.com") || valid.Err() != nil {
		t.Errorf("%+v", changed)
	}
	for _, settings := range []control.KeySettings{{Origins: []string{"app.example.com"}},
		{Origins: []string{"https://app.example.com/"}}, {Origins: []string{"null"}}} {
		_, err := w.UpdateKey(t.Context(), key.ID, settings)
		wantKind(t, err, warehouse.ErrInvalid)
	}
	before := w.Keys()[0]
	noError(t, w.Close())
	if valid.Err() == nil {
		t.Error("a key is valid after the warehouse was closed")
	}

	w = open(t, dir)
	after := w.Keys()[0]
	if !reflect.DeepEqual(before, after) || after.LastUsedAt == nil || after.RateLimit != "5/1s" {
		t.Errorf("after a restart: got %+v\nwant %+v", after, before)
	}
	_, err = w.UpdateKey(t.Context(), key.ID, control.KeySettings{})
	noError(t, err)
	_, _, err = w.Authenticate(text)
	noError(t, err)
	noError(t, w.Close())
}

// An expired key is refused, and the contexts that Authenticate returned for it are done.
func TestKeys_Expiry(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	var text string
	valid, err := t.Context(), warehouse.ErrExpiredKey
	for life := time.Second; errors.Is(err, warehouse.ErrExpiredKey); life *= 2 { // until the key is used in time
		soon := time.Now().Add(life)
		_, text, err = w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{ExpiresAt: &soon})
		noError(t, err)
		_, valid, err = w.Authenticate(text)
	}
	noError(t, err)
	<-valid.Done()
	wantKind(t, context.Cause(valid), warehouse.ErrExpiredKey)
	_, _, err = w.Authenticate(text)
	wantKind(t, err, warehouse.ErrExpiredKey)
}

// Query limits are stored like other settings, can be removed, and are refused for public keys.
func TestKeys_QueryLimits(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	limits := control.KeySettings{Origins: []string{}, QueryRows: 1000, QueryBytes: 10_000_000, QueryTime: 5000}
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Secret, limits)
	noError(t, err)
	check := func(want control.KeySettings) {
		t.Helper()
		for range 2 {
			found, _, err := w.Authenticate(text)
			noError(t, err)
			if !reflect.DeepEqual(found.KeySettings, want) {
				t.Errorf("got settings %+v\nwant %+v", found.KeySettings, want)
			}
			noError(t, w.Close())
			w = open(t, dir)
		}
	}
	check(limits)
	for _, less := range []func(*control.KeySettings){
		func(s *control.KeySettings) { s.QueryRows = 0 }, func(s *control.KeySettings) { s.QueryBytes = 0 },
		func(s *control.KeySettings) { s.QueryTime = 0 },
	} {
		less(&limits)
		_, err = w.UpdateKey(t.Context(), key.ID, limits)
		noError(t, err)
		check(limits)
	}
	for _, wrong := range []control.KeySettings{{QueryRows: -1}, {QueryBytes: -1}, {QueryTime: -1}} {
		_, err = w.UpdateKey(t.Context(), key.ID, wrong)
		wantKind(t, err, warehouse.ErrInvalid)
	}
	for _, useless := range []control.KeySettings{{QueryRows: 1}, {QueryBytes: 1}, {QueryTime: 1}} {
		_, _, err = w.CreateKey(t.Context(), tenantA, control.Public, useless)
		wantKind(t, err, warehouse.ErrInvalid)
	}
	said, err := json.Marshal(control.KeySettings{QueryRows: 1, QueryBytes: 2, QueryTime: 3})
	noError(t, err)
	if !strings.Contains(string(said), `"query_rows":1,"query_bytes":2,"query_time_ms":3`) {
		t.Errorf("%s", said)
	}
	noError(t, w.Close())
}

// Keys of a control database from before query limits existed are unchanged, and can get limits.
func TestMigration_KeysWithoutQueryLimits(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	key, text, err := w.CreateKey(t.Context(), tenantA, control.Secret,
		control.KeySettings{Label: "old", RateLimit: "5/1s"})
	noError(t, err)
	noError(t, w.Close())
	execFile(t, filepath.Join(dir, "control.duckdb"),
		`ALTER TABLE keys DROP COLUMN query_rows; ALTER TABLE keys DROP COLUMN query_bytes; ALTER TABLE keys DROP `+
			`COLUMN query_time_ms; ALTER TABLE keys DROP COLUMN revocation_inferred;
		DROP TABLE source_files; DROP TABLE restores; DROP TABLE source_lags; ALTER TABLE tenants DROP COLUMN history;
		ALTER TABLE keys DROP COLUMN allow_erase; ALTER TABLE tenants DROP COLUMN keep; DROP TABLE journal;
		DELETE FROM schema_version WHERE version > 5`)
	w = open(t, dir)
	if keys := w.Keys(); len(keys) != 1 || !reflect.DeepEqual(keys[0], key) {
		t.Errorf("got keys %+v\nwant %+v", keys, key)
	}
	changed, err := w.UpdateKey(t.Context(), key.ID, control.KeySettings{QueryTime: 5000})
	noError(t, err)
	noError(t, w.Close())
	w = open(t, dir)
	found, _, err := w.Authenticate(text)
	noError(t, err)
	if found.QueryTime.Duration() != 5*time.Second || changed.QueryTime != 5000 || found.QueryRows != 0 {
		t.Errorf("%+v", found)
	}
	noError(t, w.Close())
}
