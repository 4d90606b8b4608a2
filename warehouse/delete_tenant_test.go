package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// fillTenants merges rows of both tenants into every part of a data folder.
func fillTenants(t *testing.T, w *warehouse.Warehouse) (key string) {
	t.Helper()
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		merge(t, w, schema.Calls, call(tenant, 1, row{"summary": "of " + tenant.String()}))
		publish(t, w)
		merge(t, w, schema.Calls, call(tenant, 2, row{"summary": "of " + tenant.String()}),
			row{"user_id": tenant, "id": "none"})
		publish(t, w)
		w.LogRequest(control.Request{ID: "1", At: time.Now(), Tenant: uuid.NullUUID{UUID: tenant, Valid: true},
			Path: "/api/v1/calls", Query: "phone_number=" + tenant.String()})
		_, content, err := w.OpenDatabase(t.Context(), tenant, "", func() (func(), error) { return func() {}, nil })
		noError(t, err)
		noError(t, content.Close())
	}
	_, key, err := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
	noError(t, err)
	return key
}

// wantDeleted requires that no file is named after tenant A or contains its rows, and that the other tenant is
// complete.
func wantDeleted(t *testing.T, w *warehouse.Warehouse) {
	t.Helper()
	for _, name := range files(t, w.Dir()) {
		text := readFile(t, filepath.Join(w.Dir(), name))
		// The journal, its copy in the control database and the file of commits name tenants by their id only.
		content := tenantA.String()
		switch name {
		case "journal.ndjson", "commits":
			continue
		case "control.duckdb", "control.duckdb.wal":
			content = "phone_number=" + content // of the request log
		}
		if strings.Contains(name, tenantA.String()) || strings.Contains(text, content) {
			t.Errorf("file %s is left, or contains %s", name, content)
		}
	}
	if has, err := w.HasTenant(t.Context(), tenantA); has || err != nil {
		t.Errorf("the control database has rows of the tenant (%v)", err)
	}
	tenants, err := w.Tenants(t.Context())
	noError(t, err)
	if len(tenants) != 1 || tenants[0].ID != tenantB {
		t.Errorf("got tenants %v", tenants)
	}
	wantCallCount(t, w, tenantB, 2)
	if refused, err := quarantined(t, w, 10); err != nil || len(refused) != 1 {
		t.Errorf("got entries of the quarantine %v (%v), want that of the other tenant", refused, err)
	}
	if conditions := w.Conditions(); len(conditions) != 0 {
		t.Errorf("got conditions %v", conditions)
	}
}

func TestDeleteTenant_LeavesNothingAndKeepsItOut(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	text := fillTenants(t, w)
	_, valid, err := w.Authenticate(text)
	noError(t, err)
	noError(t, w.DeleteTenant(t.Context(), tenantA))
	wantDeleted(t, w)
	if valid.Err() == nil {
		t.Error("a request of a key of the tenant goes on")
	}
	for range 2 {
		_, _, err = w.Authenticate(text)
		wantKind(t, err, warehouse.ErrInvalidKey)
		_, err = w.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 1})
		wantKind(t, err, warehouse.ErrTenantDeleted)
		_, _, err = w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
		wantKind(t, err, warehouse.ErrTenantDeleted)
		wantKind(t, w.SaveState(t.Context(), tenantA, warehouse.State{Source: "s", Value: []byte("1")}),
			warehouse.ErrTenantDeleted)
		_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenantA, Origin: "folder",
			Rows: lines(t, call(tenantA, 3, nil))})
		wantKind(t, err, warehouse.ErrTenantDeleted)
		counts, refusals, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "source",
			Rows: lines(t, call(tenantA, 3, nil), call(tenantB, 2, nil), row{"user_id": tenantA, "id": "none"})})
		noError(t, err)
		if counts.Read != 3 || counts.Refused != 2 || len(refusals) != 1 ||
			!strings.Contains(refusals[0].Reason, tenantA.String()) {
			t.Errorf("got counts %+v and refusals %+v", counts, refusals)
		}
		noError(t, w.ImportKeys(t.Context(), control.KeySource{Name: "platform"},
			[]control.ImportedKey{{ID: uuid.New(), Tenant: tenantA, Type: control.Secret, Prefix: "sk_12345"}}))
		wantKind(t, w.DeleteTenant(t.Context(), tenantA), warehouse.ErrNotFound)
		publish(t, w)
		wantDeleted(t, w)
		noError(t, w.Close())
		w = open(t, w.Dir())
	}
	noError(t, w.DeleteTenant(t.Context(), tenantB))
	merge(t, w, schema.Calls, call(uuid.New(), 1, nil)) // a new tenant can be created after the only one was deleted
	noError(t, w.Close())
}

// Files of a deleted tenant, of a crash or of a backup, are removed by the next start.
func TestDeleteTenant_NextStartRemovesTheRest(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	fillTenants(t, w)
	noError(t, w.Close())
	copied := filepath.Join(t.TempDir(), "copy")
	noError(t, os.CopyFS(copied, os.DirFS(w.Dir())))
	w = open(t, w.Dir())
	noError(t, w.DeleteTenant(t.Context(), tenantA))
	noError(t, w.Close())
	noError(t, os.WriteFile(filepath.Join(copied, "journal.ndjson"),
		[]byte(readFile(t, filepath.Join(w.Dir(), "journal.ndjson"))), 0o600))
	for _, lost := range []string{"", "control.duckdb", "warehouse/" + tenantA.String() + ".duckdb"} {
		again := filepath.Join(t.TempDir(), "again")
		noError(t, os.CopyFS(again, os.DirFS(copied)))
		if lost != "" {
			noError(t, os.Remove(filepath.Join(again, lost)))
		}
		for _, f := range verifyFolder(t, again).Findings {
			if f.Tenant.UUID == tenantA && f.Kind != warehouse.FoundUnfinished && f.Kind != warehouse.FoundKeysDiffer {
				t.Errorf("got finding %s: %s, want that the deletion is not complete", f.Kind, f.Detail)
			}
		}
		w = open(t, again)
		wantDeleted(t, w)
		noError(t, w.Close())
	}
}
