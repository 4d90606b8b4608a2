package iceberg_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

func loadUnion(t *testing.T, u *iceberg.Union) (m tableMetadata) {
	t.Helper()
	_, text, err := u.Load(t.Context(), false)
	warehousetest.NoError(t, err)
	warehousetest.NoError(t, json.Unmarshal(text, &m))
	return m
}

// readable reports whether the manifest list of a snapshot can be read.
func readable(t *testing.T, u *iceberg.Union, m tableMetadata, i int) bool {
	t.Helper()
	_, _, err := u.Metadata(t.Context(), m.key(m.Snapshots[i].ManifestList))
	if err != nil && !errors.Is(err, warehouse.ErrNotFound) {
		t.Error(err)
	}
	return err == nil
}

func TestUnion_SnapshotsFollowTheTenants(t *testing.T) {
	w := warehousetest.OpenNew(t)
	ahead := time.Duration(0)
	u := iceberg.NewUnion(w, schema.MustExport("calls"), "s3://b/all/calls",
		func() time.Time { return time.Now().Add(ahead) })
	if m := loadUnion(t, u); len(m.Snapshots) != 0 || m.CurrentSnapshot != -1 {
		t.Errorf("got %+v without tenants", m)
	}
	publish := func(tenant uuid.UUID, n int, number string) {
		t.Helper()
		warehousetest.Merge(t, w, schema.Calls, warehousetest.Call(tenant, n,
			warehousetest.Row{"created_at": "2026-02-03T10:00:00Z", "from_number": number}))
		_, err := w.Publish(t.Context())
		warehousetest.NoError(t, err)
	}
	warehousetest.Merge(t, w, schema.Customers, warehousetest.Row{"user_id": warehousetest.TenantA,
		"id": warehousetest.ID(1), "phone_number": "+15550100", "created_at": "2026-01-01T00:00:00Z"})
	publish(warehousetest.TenantA, 1, "+15550100")
	loadUnion(t, u)
	publish(warehousetest.TenantB, 2, "+15550199")
	loadUnion(t, u)
	publish(warehousetest.TenantB, 3, "+15550199")
	m := loadUnion(t, u)
	var totals []string
	for _, s := range m.Snapshots {
		totals = append(totals, s.Summary["total-records"]+" rows in "+s.Summary["total-data-files"])
	}
	if want := []string{"1 rows in 1", "2 rows in 2", "3 rows in 2"}; !slices.Equal(totals, want) {
		t.Errorf("got snapshots %q, want %q", totals, want)
	}
	for i := range m.Snapshots[1:] {
		if m.Snapshots[i].ID >= m.Snapshots[i+1].ID {
			t.Errorf("got snapshots %+v, want increasing identifiers", m.Snapshots)
		}
	}
	lists := [3]string{}
	for i, s := range m.Snapshots {
		list, _, err := u.Metadata(t.Context(), m.key(s.ManifestList))
		warehousetest.NoError(t, err)
		lists[i] = string(list)
	}
	shared := "metadata/" + warehousetest.TenantA.String()
	if _, name, ok := strings.Cut(lists[2], shared); !ok || !strings.Contains(lists[0], shared+name[:30]) {
		t.Error("a publication of one tenant replaced the manifest of another")
	}

	_, err := w.Erase(t.Context(), warehousetest.TenantA, warehousetest.ID(1), warehouse.EraseOptions{})
	warehousetest.NoError(t, err)
	for i := range m.Snapshots {
		if readable(t, u, m, i) {
			t.Errorf("snapshot %d can be read after an erasure of a part of it", i)
		}
	}
	after := loadUnion(t, u)
	if n := len(after.Snapshots); n != 1 || after.CurrentSnapshot <= m.CurrentSnapshot {
		t.Errorf("got %d snapshots and %d as the current one after an erasure, want 1 after %d", n,
			after.CurrentSnapshot, m.CurrentSnapshot)
	}
	publish(warehousetest.TenantB, 4, "+15550199")
	if after = loadUnion(t, u); len(after.Snapshots) != 2 || !readable(t, u, after, 0) {
		t.Errorf("got snapshots %+v, want the one before within the hour", after.Snapshots)
	}
	ahead = time.Hour
	if later := loadUnion(t, u); len(later.Snapshots) != 1 || readable(t, u, after, 0) {
		t.Errorf("got snapshots %+v after an hour", later.Snapshots)
	}
	ahead = 0
	publish(warehousetest.TenantA, 5, "+15550199")
	after = loadUnion(t, u)
	warehousetest.NoError(t, w.DeleteTenant(t.Context(), warehousetest.TenantA))
	if readable(t, u, after, len(after.Snapshots)-1) {
		t.Error("a snapshot with a deleted tenant can be read")
	}
	if last := loadUnion(t, u); last.Snapshots[len(last.Snapshots)-1].Summary["total-records"] != "3" {
		t.Errorf("got snapshots %+v after the deletion of a tenant, want the 3 rows of the other", last.Snapshots)
	}
}

// A union of tenants is unavailable while one of them is, and names it.
func TestUnion_ErrorNamesTheUnavailableTenant(t *testing.T) {
	w := warehousetest.OpenNew(t)
	u := iceberg.NewUnion(w, schema.MustExport("calls"), "s3://b/all/calls", time.Now)
	for n, tenant := range []uuid.UUID{warehousetest.TenantA, warehousetest.TenantB} {
		warehousetest.Merge(t, w, schema.Calls, warehousetest.Call(tenant, n, warehousetest.Row{}))
	}
	_, err := w.Publish(t.Context())
	warehousetest.NoError(t, err)
	loadUnion(t, u)
	failing := &failingSource{Warehouse: w, tenant: warehousetest.TenantB}
	u = iceberg.NewUnion(failing, schema.MustExport("calls"), "s3://b/all/calls", time.Now)
	loadUnion(t, u)
	failing.failing = true
	_, _, err = u.Load(t.Context(), false)
	if found := (*warehouse.TenantError)(nil); !errors.As(err, &found) || found.Tenant != warehousetest.TenantB {
		t.Errorf("got %v, want an error that names the tenant", err)
	}
	failing.failing = false
	loadUnion(t, u)
}

// failingSource is a warehouse whose store of the tenant cannot be read while failing is true.
type failingSource struct {
	*warehouse.Warehouse
	tenant  uuid.UUID
	failing bool
}

func (f *failingSource) TableTenants(ctx context.Context) ([]warehouse.TableTenant, error) {
	tenants, err := f.Warehouse.TableTenants(ctx)
	for i := range tenants {
		tenants[i].Failing = f.failing && tenants[i].ID == f.tenant
	}
	return tenants, err
}

func (f *failingSource) TableFiles(ctx context.Context, tenant uuid.UUID, export string) ([]warehouse.TableFile,
	error) {
	if f.failing && tenant == f.tenant {
		return nil, warehouse.ErrUnpublished
	}
	return f.Warehouse.TableFiles(ctx, tenant, export)
}
