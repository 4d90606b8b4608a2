package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A store that cannot be opened is a condition of its tenant until it can be. The warehouse is not ready only if no
// tenant can be served.
func TestConditions_StoreThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil))
	publish(t, w)
	noError(t, w.Close())
	store := func(tenant uuid.UUID) string { return filepath.Join(dir, "warehouse", tenant.String()+".duckdb") }
	sound, err := os.ReadFile(store(tenantA))
	noError(t, err)

	noError(t, os.WriteFile(store(tenantA), []byte(strings.Repeat("no database", 1000)), 0o600))
	w = open(t, dir)
	wantKind(t, w.OpenTenant(t.Context(), tenantA), warehouse.ErrUnavailable)
	want(t, kinds(w), "A/store_unreadable")
	noError(t, w.OpenTenant(t.Context(), tenantB))
	noError(t, w.Ready(t.Context()))

	noError(t, os.WriteFile(store(tenantA), sound, 0o600))
	noError(t, w.OpenTenant(t.Context(), tenantA))
	want(t, kinds(w), "")
	noError(t, w.Close())

	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		noError(t, os.WriteFile(store(tenant), []byte(strings.Repeat("no database", 1000)), 0o600))
	}
	w = open(t, dir)
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		wantKind(t, w.OpenTenant(t.Context(), tenant), warehouse.ErrUnavailable)
	}
	want(t, kinds(w), "A/store_unreadable B/store_unreadable")
	wantKind(t, w.Ready(t.Context()), warehouse.ErrUnavailable)
	noError(t, w.Close())
}

// Commits that no publication reaches are a condition after maxPublishLag, until they are published.
func TestConditions_PublicationLags(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	blocker := filepath.Join(dir, "lake", "tenant_id="+tenantA.String())
	noError(t, os.WriteFile(blocker, nil, 0o600))
	_, err := w.Publish(t.Context())
	if err == nil {
		t.Fatal("got no error of a publication whose folder is a file")
	}
	later := time.Now().Add(warehouse.MaxPublishLag + time.Minute)
	if got := w.ConditionsAt(later); len(got) != 2 || got[1].Kind != warehouse.PublicationLagging {
		t.Errorf("got %v, want a failing and lagging publication", got)
	}
	noError(t, os.Remove(blocker))
	publish(t, w)
	if got := w.ConditionsAt(later); len(got) != 0 {
		t.Errorf("got %v, want no condition", got)
	}
	noError(t, w.Close())
}

func TestVerify_ManualListsEveryFinding(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/operating.md")
	noError(t, err)
	if table := strings.Join(warehouse.FindingTable(), "\n"); !strings.Contains(string(text), table) {
		t.Errorf("docs/operating.md: got another table of findings, want\n%s", table)
	}
}
