package warehouse_test

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// backedUp makes a data folder with the published calls 1 to 5 of tenants A and B. It writes a backup of the tenant, or
// of all tenants if it is zero. Then it adds the calls 6 and 7 of both tenants, and publishes them.
func backedUp(t *testing.T, dest string, tenant uuid.UUID) (w *warehouse.Warehouse) {
	t.Helper()
	w = warehousetest.Open(t, emptyFolder(t))
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

// A restore of all tenants or of one brings back the rows and files of the backup, into the same folder and into an
// empty one. Each form of a backup is restored in two of these ways.
func TestRestore_BringsBackRowsAndFilesInEveryWay(t *testing.T) {
	for _, tenant := range []uuid.UUID{{}, tenantA} {
		for _, into := range []string{"same", "empty"} {
			scope := "all"
			if tenant != uuid.Nil {
				scope = "one"
			}
			archive := "folder"
			if (scope == "all") == (into == "empty") { // each form with each scope and with each folder
				archive = "backup.tar.zst"
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

// The numbers of commits that restores have lost are not used again: a position that has only such a number is refused,
// whatever was committed since, and those of other commits are not.
func TestRestore_NumbersOfLostCommits(t *testing.T) {
	t.Parallel()
	w, dest := warehousetest.OpenNew(t), filepath.Join(t.TempDir(), "backups")
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	kept := position(t, w, tenantA).Seq
	mustBackup(t, w, warehouse.BackupOptions{Dest: dest, Tenant: tenantA})
	var lost, made []int64
	for restores := range 3 {
		if restores > 0 {
			_, err := w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: tenantA})
			noError(t, err)
			lost, made = append(lost, made...), nil
		}
		for n := range 2 {
			merge(t, w, schema.Calls, call(tenantA, 2+n, row{"summary": fmt.Sprint(restores)}))
			made = append(made, position(t, w, tenantA).Seq)
			for _, seq := range lost {
				wantLost(t, w, tenantA, warehouse.AfterCommit(seq), true)
			}
			for _, seq := range append(made, kept) {
				wantLost(t, w, tenantA, warehouse.AfterCommit(seq), false)
			}
		}
	}
}

// A restore that is killed leaves the former rows, or is completed by the next start. It can be run again.
func TestRestore_KilledIsUndoneOrCompleted(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "backups")
	w := backedUp(t, dest, uuid.Nil)
	noError(t, w.Close())
	o := warehouse.RestoreOptions{Source: dest}
	for _, steps := range []int{-1, 0, 7, 8, 1000} { // odd: a path is cleared, and not replaced yet
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			noError(t, os.CopyFS(dir, os.DirFS(w.Dir())))
			all, err := warehouse.InterruptRestore(t.Context(), warehouse.Options{Dir: dir}, o, steps)
			noError(t, err)
			if steps >= 0 && all < 20 {
				t.Fatalf("got %d steps, want more", all)
			}
			calls := int64(5)
			if steps < 0 {
				calls = 7
			}
			again := warehousetest.Open(t, dir)
			for _, tenant := range []uuid.UUID{tenantA, tenantB} {
				wantLakeLikeStore(t, again, tenant, calls)
				wantLost(t, again, tenant, warehouse.AfterCommit(6), steps >= 0)
			}
			left, err := filepath.Glob(filepath.Join(dir, ".restore*"))
			noError(t, err)
			if _, err := os.Stat(filepath.Join(dir, "restore.json")); len(left) > 0 || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %v, restore.json: %v, want nothing left", left, err)
			}
			found, err := again.Verify(t.Context(), uuid.Nil)
			noError(t, err)
			if !found.Sound() {
				t.Errorf("got the findings %+v, want a sound folder", found.Findings)
			}
			noError(t, again.Close())
			if steps > 0 && all > steps { // the folder is the same as after 0 or all steps
				return
			}
			again, _, err = warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: dir}, o)
			noError(t, err)
			wantLakeLikeStore(t, again, tenantA, 5)
			noError(t, again.Close())
		})
	}
}

// A damaged backup is refused by the name of the damaged file, before anything in the data folder changes.
func TestRestore_DamagedBackupChangesNothing(t *testing.T) {
	t.Parallel()
	dest := filepath.Join(t.TempDir(), "backups")
	w := backedUp(t, dest, uuid.Nil)
	noError(t, w.Close())
	before := contents(t, w.Dir())
	var objects []string
	noError(t, filepath.WalkDir(filepath.Join(dest, "objects"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			objects = append(objects, path)
		}
		return err
	}))
	for _, path := range objects {
		whole := readFile(t, path)
		if len(whole) == 0 {
			continue
		}
		info, err := os.Stat(path)
		noError(t, err)
		// Some objects are hard links to files of the lake, which must stay sound.
		noError(t, os.Remove(path))
		damaged := []byte(whole)
		damaged[len(damaged)/2] ^= 4
		noError(t, os.WriteFile(path, damaged, info.Mode()))
		_, _, err = warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: w.Dir()},
			warehouse.RestoreOptions{Source: dest})
		if failure := (*backup.DamagedError)(nil); !errors.As(err, &failure) || failure.Name != path {
			t.Fatalf("%s: got error %v, want one that names the file", path, err)
		}
		noError(t, os.WriteFile(path, []byte(whole), info.Mode()))
	}
	want(t, contents(t, w.Dir()), before)
}

// A backup has one state of each tenant, however many merges and publications run meanwhile. A second backup copies
// only the stores that have changed.
func TestBackup_WhileRowsAreMerged(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	merge(t, w, schema.Calls, call(tenantB, 1, nil))
	publish(t, w)
	dest := t.TempDir()
	merged, done := atomic.Int64{}, make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= 30; n++ {
			text := ""
			for part := range 50 {
				text += noise(100*n + part)
			}
			merge(t, w, schema.Calls, call(tenantA, n, row{"summary": text}))
			merged.Store(int64(n))
			if err := w.Checkpoint(t.Context(), tenantA); err != nil {
				t.Error(err)
			}
			if n%10 == 0 {
				publish(t, w)
			}
		}
	}()
	atLeast := map[string]int64{}
	for range 3 {
		n := merged.Load()
		report := mustBackup(t, w, warehouse.BackupOptions{Dest: filepath.Join(dest, "backups")})
		atLeast[report.Name] = n
	}
	<-done
	report := mustBackup(t, w, warehouse.BackupOptions{Dest: filepath.Join(dest, "backups")})
	atLeast[report.Name] = 30
	if report.Unchanged < 1 {
		t.Errorf("got %+v, want tenant B unchanged", report)
	}
	if report := mustBackup(t, w, warehouse.BackupOptions{Dest: filepath.Join(dest, "backups")}); report.Unchanged != 2 {
		t.Errorf("got %+v, want both tenants unchanged", report)
	}
	for name, n := range atLeast {
		restored, _, err := warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: filepath.Join(dest, name)},
			warehouse.RestoreOptions{Source: filepath.Join(dest, "backups"), At: name})
		noError(t, err)
		page, err := restored.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 100})
		if n > 0 {
			noError(t, err)
		}
		if page.Total < n {
			t.Errorf("backup %s: got %d calls, want at least %d", name, page.Total, n)
		}
		for _, id := range ids(t, page.Items) {
			if n, err := strconv.ParseInt(id[24:], 10, 64); err != nil || n > page.Total {
				t.Errorf("backup %s: got call %s among %d calls, want the first ones", name, id, page.Total)
			}
		}
		wantLakeLikeStore(t, restored, tenantB, 1)
		noError(t, restored.Close())
	}
}

// Rows that were erased after a backup stay erased after its restore, also in a folder that has only the journal beside
// the backups. A tenant that was deleted stays deleted.
func TestRestore_ErasedStaysErased(t *testing.T) {
	t.Parallel()
	const number = "+15550100123"
	dest := filepath.Join(t.TempDir(), "backups")
	w := warehousetest.Open(t, emptyFolder(t))
	merge(t, w, schema.Calls, call(tenantA, 1, row{"phone_number": number}), call(tenantA, 2, nil), call(tenantB, 3, nil))
	merge(t, w, schema.Customers, row{"user_id": tenantA, "id": warehousetest.ID(9), "phone_number": number,
		"created_at": "2026-03-01T10:00:00Z"})
	publish(t, w)
	first := mustBackup(t, w, warehouse.BackupOptions{Dest: dest})
	_, err := w.Erase(t.Context(), tenantA, number, warehouse.EraseOptions{})
	noError(t, err)
	noError(t, w.DeleteTenant(t.Context(), tenantB))
	mustBackup(t, w, warehouse.BackupOptions{Dest: dest})
	noError(t, w.Close())
	for _, dir := range []string{w.Dir(), filepath.Join(t.TempDir(), "empty")} {
		again, report, err := warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: dir},
			warehouse.RestoreOptions{Source: dest, At: first.Name})
		noError(t, err)
		if len(report.Deleted) != 1 || report.Deleted[0] != tenantB {
			t.Errorf("got the deleted tenants %v, want tenant B", report.Deleted)
		}
		wantLakeLikeStore(t, again, tenantA, 1)
		_, err = again.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, At: first.Name, Tenant: tenantA})
		noError(t, err)
		wantLakeLikeStore(t, again, tenantA, 1)
		_, err = again.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, At: first.Name, Tenant: tenantB})
		wantKind(t, err, warehouse.ErrInvalid)
		noError(t, again.Close())
	}
}

// The state of a source is not stored if its tenant was restored during the run: it covers rows that were lost.
func TestRestore_DiscardsTheStateOfARunningSource(t *testing.T) {
	t.Parallel()
	dest := filepath.Join(t.TempDir(), "backups")
	w := backedUp(t, dest, tenantA)
	defer func() { noError(t, w.Close()) }()
	state := warehouse.State{Source: "test", Value: []byte(`{"through":7}`)}
	run, other := w.SourceRun(t.Context(), tenantA), w.SourceRun(t.Context(), tenantB)
	noError(t, w.SaveState(run, tenantA, state))
	_, err := w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: tenantA})
	noError(t, err)
	wantKind(t, w.SaveState(run, tenantA, state), warehouse.ErrBusy)
	staged, err := w.Stage(run, warehouse.Batch{Dataset: schema.Calls, Tenant: tenantA,
		Rows: warehousetest.Lines(t, call(tenantA, 9, nil))})
	noError(t, err)
	staged.SetState(state)
	_, _, err = staged.Merge(run)
	wantKind(t, err, warehouse.ErrBusy)
	if got, err := w.SourceState(t.Context(), tenantA, "test"); err != nil || got != nil {
		t.Errorf("got the state %s, %v, want none", got, err)
	}
	noError(t, w.SaveState(other, tenantB, state))
	noError(t, w.SaveState(w.SourceRun(t.Context(), tenantA), tenantA, state))
}

// While the store of a tenant is copied, merges go on, and no checkpoint changes what is copied.
func TestBackup_CopyIsOneState(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	change := func(from int) {
		for n := from; n < from+4; n++ {
			text := ""
			for part := range 300 {
				text += noise(1000*n + part)
			}
			merge(t, w, schema.Calls, call(tenantA, n, row{"summary": text}), call(tenantA, 1, row{"summary": text}))
			noError(t, w.Checkpoint(t.Context(), tenantA))
		}
	}
	change(2)
	path := filepath.Join(t.TempDir(), "copy.duckdb")
	noError(t, w.CopyPinned(t.Context(), tenantA, path, func() { change(6) }))
	wantCallCount(t, w, tenantA, 9)
	want(t, queryFile(t, path+"?access_mode=READ_ONLY", "SELECT count(*) || ' ' || sum(length(summary) > 300000)::INT FROM calls"), "5 5")
}

// A key that was revoked after a backup stays revoked after its restore. A key that was created after the backup stays
// valid. A folder that has only the journal beside the backups has the same keys.
func TestRestore_RevokedKeysStayRevoked(t *testing.T) {
	t.Parallel()
	dest := filepath.Join(t.TempDir(), "backups")
	w := warehousetest.Open(t, emptyFolder(t))
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	newKey := func() (control.Key, string) {
		t.Helper()
		key, text, err := w.CreateKey(t.Context(), tenantA, control.Secret,
			control.KeySettings{Label: "a", Origins: []string{}})
		noError(t, err)
		return key, text
	}
	kept, keptText := newKey()
	revoked, revokedText := newKey()
	first := mustBackup(t, w, warehouse.BackupOptions{Dest: dest})
	created, createdText := newKey()
	_, err := w.RevokeKey(t.Context(), revoked.ID)
	noError(t, err)
	_, err = w.UpdateKey(t.Context(), kept.ID, control.KeySettings{Label: "changed", RateLimit: "5/1s"})
	noError(t, err)
	mustBackup(t, w, warehouse.BackupOptions{Dest: dest})
	noError(t, w.Close())
	check := func(w *warehouse.Warehouse) {
		t.Helper()
		got, _, err := w.Authenticate(keptText)
		if err != nil || got.Label != "changed" || got.RateLimit != "5/1s" {
			t.Errorf("changed key: got %+v and error %v", got, err)
		}
		if got, _, err := w.Authenticate(createdText); err != nil || got.ID != created.ID {
			t.Errorf("new key: got %+v and error %v", got, err)
		}
		_, _, err = w.Authenticate(revokedText)
		wantKind(t, err, warehouse.ErrRevokedKey)
		if n := len(w.Keys()); n != 3 {
			t.Errorf("got %d keys, want 3", n)
		}
	}
	o := warehouse.RestoreOptions{Source: dest, At: first.Name}
	for _, dir := range []string{w.Dir(), filepath.Join(t.TempDir(), "empty")} {
		again, _, err := warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: dir}, o)
		noError(t, err)
		check(again)
		noError(t, again.Close())
		again = warehousetest.Open(t, dir)
		check(again)
		noError(t, again.Close())
	}
	noError(t, os.Remove(filepath.Join(w.Dir(), "control.duckdb")))
	lost := warehousetest.Open(t, w.Dir())
	check(lost)
	noError(t, lost.Close())

	empty := warehousetest.OpenNew(t)
	o.Tenant = tenantA
	_, err = empty.RestoreTenant(t.Context(), o)
	noError(t, err)
	check(empty)
}

// The restore of one tenant into another data folder brings no other tenant and no key of one, but all revocations.
func TestRestore_OneTenantBringsNoOther(t *testing.T) {
	t.Parallel()
	w := warehousetest.OpenNew(t)
	texts := map[uuid.UUID]string{}
	for _, tenant := range []uuid.UUID{tenantA, tenantB} {
		merge(t, w, schema.Calls, call(tenant, 1, nil))
		_, text, err := w.CreateKey(t.Context(), tenant, control.Secret, control.KeySettings{Origins: []string{}})
		noError(t, err)
		texts[tenant] = text
	}
	for _, only := range []uuid.UUID{uuid.Nil, tenantA} {
		for _, dest := range []string{"backups", "backup.tar"} {
			dest = filepath.Join(t.TempDir(), dest)
			mustBackup(t, w, warehouse.BackupOptions{Dest: dest, Tenant: only})
			other := warehousetest.OpenNew(t)
			_, err := other.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: tenantA})
			noError(t, err)
			tenants, err := other.Tenants(t.Context())
			noError(t, err)
			if len(tenants) != 1 || tenants[0].ID != tenantA {
				t.Errorf("got tenants %+v, want %s only", tenants, tenantA)
			}
			if _, _, err := other.Authenticate(texts[tenantA]); err != nil {
				t.Errorf("key of the restored tenant: got error %v", err)
			}
			_, _, err = other.Authenticate(texts[tenantB])
			wantKind(t, err, warehouse.ErrInvalidKey)
		}
	}
}

// publishedAhead makes the last publication of tenant A one of a clock that is 40 days ahead, and returns its time. No
// process has the folder open.
func publishedAhead(t *testing.T, dir string) (at time.Time) {
	t.Helper()
	db, err := sql.Open("duckdb", filepath.Join(dir, "warehouse", tenantA.String()+".duckdb"))
	noError(t, err)
	noError(t, db.QueryRowContext(t.Context(), "UPDATE published_files SET published_at = now() + INTERVAL 40 DAY "+
		"WHERE replaced_at IS NULL RETURNING published_at").Scan(&at))
	noError(t, db.Close())
	return at.UTC()
}

// Times of publications never go back, also if the clock was set back before a store was restored or rebuilt.
func TestPublicationTimes_ClockSetBack(t *testing.T) {
	t.Parallel()
	dest := filepath.Join(t.TempDir(), "backups")
	w := backedUp(t, dest, uuid.Nil)
	noError(t, w.Close())
	for name, replace := range map[string]func(dir string) *warehouse.Warehouse{
		"restore of all tenants": func(dir string) *warehouse.Warehouse {
			w, _, err := warehouse.RestoreFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RestoreOptions{Source: dest})
			noError(t, err)
			return w
		},
		"restore of one tenant": func(dir string) *warehouse.Warehouse {
			w := warehousetest.Open(t, dir)
			_, err := w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: tenantA})
			noError(t, err)
			return w
		},
		"rebuilt store": func(dir string) *warehouse.Warehouse {
			path := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
			older, err := os.ReadFile(path)
			noError(t, err)
			w := warehousetest.Open(t, dir)
			merge(t, w, schema.Calls, call(tenantA, 8, nil))
			noError(t, w.Close())
			noError(t, os.WriteFile(path, older, 0o600)) // it lacks a commit
			w = warehousetest.Open(t, dir)
			repaired, err := w.Repair(t.Context(), warehouse.RepairOptions{})
			if err != nil || len(repaired.Repairs) == 0 {
				t.Fatalf("got %+v, %v, want the store repaired", repaired, err)
			}
			return w
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			noError(t, os.CopyFS(dir, os.DirFS(w.Dir())))
			ahead := publishedAhead(t, dir)
			w := replace(dir)
			known := ahead
			for n := range 2 { // the second process reads the time from the journal, if the manifest is empty
				merge(t, w, schema.Calls, call(tenantA, 9+n, nil))
				publish(t, w)
				files, err := w.TableFiles(t.Context(), tenantA, schema.Calls.Name)
				noError(t, err)
				newest := known
				for _, f := range files {
					if !f.PublishedAt.After(ahead) {
						t.Errorf("%s: got a publication at %s, want one after %s", f.Name, f.PublishedAt, ahead)
					}
					if f.PublishedAt.After(newest) {
						newest = f.PublishedAt
					}
				}
				if !newest.After(known) {
					t.Errorf("got %s as the newest publication, want one after %s", newest, known)
				}
				known = newest
				noError(t, w.Close())
				w = warehousetest.Open(t, dir)
			}
			noError(t, w.Close())
		})
	}
}
