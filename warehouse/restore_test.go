package warehouse_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// backedUp makes a data folder with the published calls 1 to 5 of tenants A and B. It writes a backup of the tenant, or of
// all tenants if it is zero. Then it adds the calls 6 and 7 of both tenants, and publishes them.
func backedUp(t *testing.T, dest string, tenant uuid.UUID) (w *warehouse.Warehouse) {
	t.Helper()
	w = warehousetest.Open(t, filepath.Join(t.TempDir(), "data"))
	for n := 1; n <= 5; n++ {
		merge(t, w, schema.Calls, call(tenantA, n, nil), call(tenantB, n, nil))
	}
	publish(t, w)
	mustBackup(t, w, warehouse.BackupOptions{Dest: dest, Tenant: tenant})
	for n := 6; n <= 7; n++ {
		merge(t, w, schema.Calls, call(tenantA, n, nil), call(tenantB, n, nil))
	}
	publish(t, w)
	return w
}

func mustBackup(t *testing.T, w *warehouse.Warehouse, o warehouse.BackupOptions) warehouse.BackupReport {
	t.Helper()
	report, err := w.Backup(t.Context(), o)
	noError(t, err)
	if len(report.Failed)+len(report.Missing) > 0 {
		t.Fatalf("got %+v, want a complete backup", report)
	}
	return report
}

// lakeOf returns the content of the lake of a tenant, by path.
func lakeOf(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID) string {
	t.Helper()
	return contents(t, filepath.Join(w.Dir(), "lake", "tenant_id="+tenant.String()))
}

// wantLakeLikeStore requires that the published calls of a tenant are those of the store.
func wantLakeLikeStore(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID, calls int64) {
	t.Helper()
	wantCallCount(t, w, tenant, calls)
	publish(t, w)
	files, err := w.PublishedFiles(t.Context(), tenant)
	noError(t, err)
	rows := int64(0)
	for _, f := range files {
		_, content, err := w.OpenPublished(t.Context(), tenant, f.Export, f.Name)
		noError(t, err)
		noError(t, content.Close())
		if f.Export == schema.Calls.Name {
			rows += f.Rows
		}
	}
	if rows != calls {
		t.Errorf("got %d published calls, want %d", rows, calls)
	}
}

// position returns the end of a tenant's feed of calls.
func position(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID) warehouse.FeedPosition {
	t.Helper()
	feed, err := w.Changes(t.Context(), tenant, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 100)
	noError(t, err)
	return feed.Next
}

func wantLost(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID, at warehouse.FeedPosition, lost bool) {
	t.Helper()
	_, err := w.Changes(t.Context(), tenant, schema.Calls, schema.Filter{}, at, 100)
	if got := errors.Is(err, warehouse.ErrPositionLost); got != lost || err != nil && !got {
		t.Errorf("position %+v: got error %v, want it lost: %t", at, err, lost)
	}
}

// A restore brings back the rows and files of the backup, in each form of a backup, in each state of the data folder.
func TestRestore_Matrix(t *testing.T) {
	for _, archive := range []string{"folder", "backup.tar.zst", "backup.tar"} {
		for _, tenant := range []uuid.UUID{{}, tenantA} {
			for _, into := range []string{"same", "empty"} {
				scope := "all"
				if tenant != uuid.Nil {
					scope = "one"
				}
				t.Run(fmt.Sprintf("%s of %s into %s", archive, scope, into), func(t *testing.T) {
					t.Parallel()
					dest := filepath.Join(t.TempDir(), archive)
					w := backedUp(t, dest, tenant)
					end, since := position(t, w, tenantA), warehouse.AfterCommit(6)
					wantLost(t, w, tenantA, since, false)
					otherLake, otherEnd := lakeOf(t, w, tenantB), position(t, w, tenantB)
					o := warehouse.RestoreOptions{Source: dest, Tenant: tenant}
					var report warehouse.RestoreReport
					var err error
					if into == "empty" {
						dir := w.Dir()
						noError(t, w.Close())
						w = nil
						if dir = filepath.Join(filepath.Dir(dir), "other"); tenant != uuid.Nil {
							w = warehousetest.Open(t, dir)
						} else {
							w, report, err = warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: dir}, o)
							noError(t, err)
						}
					} else if tenant == uuid.Nil {
						noError(t, w.Close())
						w, report, err = warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: w.Dir()}, o)
						noError(t, err)
					}
					defer func() { noError(t, w.Close()) }()
					if tenant != uuid.Nil {
						report, err = w.RestoreTenant(t.Context(), o)
						noError(t, err)
					}
					wantLakeLikeStore(t, w, tenantA, 5)
					wantLost(t, w, tenantA, end, true)
					wantLost(t, w, tenantA, since, true)
					wantLost(t, w, tenantA, warehouse.AfterCommit(5), false)
					merge(t, w, schema.Calls, call(tenantA, 8, nil))
					wantLakeLikeStore(t, w, tenantA, 6)
					wantLost(t, w, tenantA, since, true)
					switch {
					case tenant == uuid.Nil:
						wantLakeLikeStore(t, w, tenantB, 5)
						wantLost(t, w, tenantB, otherEnd, true)
					case into == "same":
						wantLost(t, w, tenantB, otherEnd, false)
						want(t, lakeOf(t, w, tenantB), otherLake)
						wantCallCount(t, w, tenantB, 7)
					}
					if kept := report.Kept != ""; kept != (into == "same") {
						t.Errorf("got kept files in %q", report.Kept)
					}
					restores, err := w.Restores(t.Context())
					noError(t, err)
					if len(restores) != len(report.Tenants) || restores[0].Backup != report.Backup {
						t.Errorf("got restores %+v, want those of %+v", restores, report)
					}
				})
			}
		}
	}
}
