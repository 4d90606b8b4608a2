package warehouse_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// A store whose path has another file, or none, is not written to. It can be used again when its file is back.
func TestStore_ReplacedWhileInUse(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 1, nil))
	store := func(name string) string { return filepath.Join(w.Dir(), "warehouse", name) }
	file := store(tenantA.String() + ".duckdb")
	for name, test := range map[string]struct {
		replace func()
		back    func()
		kind    string
	}{
		"removed": {func() { noError(t, os.Rename(file, store("away"))) },
			func() { noError(t, os.Rename(store("away"), file)) }, "A/store_missing"},
		"another tenant's": {func() {
			noError(t, os.Rename(file, store("away")))
			copyFile(t, store(tenantB.String()+".duckdb"), file)
		}, func() { noError(t, os.Rename(store("away"), file)) }, "A/store_foreign"},
		"a folder": {func() {
			noError(t, os.Rename(file, store("away")))
			noError(t, os.Mkdir(file, 0o700))
		}, func() {
			noError(t, os.Remove(file))
			noError(t, os.Rename(store("away"), file))
		}, "A/store_foreign"},
		"the folder": {func() { noError(t, os.Rename(store(""), w.Dir()+"/elsewhere")) },
			func() { noError(t, os.Rename(w.Dir()+"/elsewhere", store(""))) }, "A/store_missing"},
	} {
		test.replace()
		_, err := mergeError(t, w, schema.Calls, call(tenantA, 2, nil))
		wantKind(t, err, warehouse.ErrUnavailable)
		want(t, kinds(w), test.kind)
		test.back()
		if _, err := mergeError(t, w, schema.Calls, call(tenantA, 2, nil)); err != nil {
			t.Errorf("%s, and back: %v", name, err)
		}
		want(t, kinds(w), "")
	}
}

// A block that cannot be read is a condition of its tenant, and the command to run is named.
func TestStore_BlockDamagedWhileInUse(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	var rows []any
	for n := range 3000 {
		rows = append(rows, call(tenantA, n, row{"summary": "summary of a call"}))
	}
	merge(t, w, schema.Calls, rows...)
	noError(t, w.Close())
	w = open(t, dir)
	noError(t, w.OpenTenant(t.Context(), tenantA))
	path := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
	text := []byte(readFile(t, path))
	for at := 20000; at < len(text); at += 997 {
		text[at] ^= 4
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	noError(t, err)
	_, err = file.WriteAt(text, 0)
	noError(t, err)
	noError(t, file.Close())
	for range 2 {
		_, err = mergeError(t, w, schema.Calls, rows...)
		wantKind(t, err, warehouse.ErrDamaged)
		want(t, kinds(w), "A/store_damaged")
	}
	_ = w.Close() // its checkpoint fails
}

func mergeError(t *testing.T, w *warehouse.Warehouse, dataset schema.Dataset, rows ...any) (schema.Counts, error) {
	t.Helper()
	counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Origin: "x", Rows: lines(t, rows...)})
	return counts, err
}

// TestScrub_FindsDamagedBlocksOfAStore damages a store while it is attached. The scrub and the verification compare
// each of its blocks on the disk, also those that DuckDB has in memory.
func TestScrub_FindsDamagedBlocksOfAStore(t *testing.T) {
	defer warehouse.SetConfirmAfter(time.Millisecond)()
	dir := warehousetest.SoundFolder(t)
	w := open(t, dir)
	noError(t, w.ScrubTenant(t.Context(), tenantA, 1<<30))
	if list := w.Conditions(); len(list) > 0 {
		t.Fatalf("got conditions %+v, want none", list)
	}
	path := filepath.Join(dir, "warehouse", tenantA.String()+".duckdb")
	content := []byte(readFile(t, path))
	content[len(content)/2] ^= 8
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	noError(t, err)
	_, err = file.WriteAt(content[len(content)/2:len(content)/2+1], int64(len(content)/2))
	noError(t, err)
	noError(t, w.ScrubTenant(t.Context(), tenantA, 1<<30))
	if list := w.Conditions(); len(list) != 1 || list[0].Kind != warehouse.StoreDamaged || list[0].Tenant != tenantA {
		t.Errorf("got conditions %+v, want a damaged store", list)
	}
	found, err := w.Verify(t.Context(), tenantA)
	noError(t, err)
	if len(found.Findings) != 1 || found.Findings[0].Kind != warehouse.FoundStoreDamaged {
		t.Errorf("got findings %+v, want a damaged store", found.Findings)
	}
	repaired, err := w.Repair(t.Context(), warehouse.RepairOptions{})
	noError(t, err)
	if list := w.Conditions(); len(list) > 0 || len(repaired.Remaining) > 0 {
		t.Errorf("after a repair: got conditions %+v and findings %+v", list, repaired.Remaining)
	}
	noError(t, file.Close())
	noError(t, w.Close())
}

// TestControl_EveryDamagedBlockIsFound flips a bit in each block of the control database, also in those of indexes,
// which no query reads. Both forms of the verification find it. An error that it causes names the command to run, after
// which keys and tenants can be added.
func TestControl_EveryDamagedBlockIsFound(t *testing.T) {
	defer warehouse.SetConfirmAfter(time.Millisecond)()
	base := filepath.Join(t.TempDir(), "base")
	w := open(t, base)
	_, valid, err := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
	noError(t, err)
	noError(t, w.Close())
	const headers, block = 3 * 4096, 256 << 10
	sound, failed := readFile(t, filepath.Join(base, "control.duckdb")), 0
	blocks := (len(sound) - headers) / block
	for number := range blocks {
		dir := filepath.Join(t.TempDir(), "data")
		copyFolder(t, base, dir)
		damaged := []byte(sound)
		damaged[headers+number*block+100+997*number] ^= 4
		noError(t, os.WriteFile(filepath.Join(dir, "control.duckdb"), damaged, 0o600))
		if found := verifyFolder(t, dir); len(found.Findings) != 1 || found.Findings[0].Kind != warehouse.FoundControl {
			t.Errorf("block %d of %d, folder: got findings %+v", number, blocks, found.Findings)
		}
		w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
		if err != nil {
			wantText(t, err, "run `voicory repair`")
			continue
		}
		w.Scrub(t.Context(), 0)
		if list := w.Conditions(); len(list) != 1 || list[0].Kind != warehouse.ControlDamaged {
			t.Errorf("block %d: got conditions %+v", number, list)
		}
		found, err := w.Verify(t.Context(), uuid.Nil)
		noError(t, err)
		if len(found.Findings) != 1 || !strings.HasPrefix(found.Findings[0].Command, "voicory repair, after") {
			t.Errorf("block %d, open folder: got findings %+v", number, found.Findings)
		}
		_, _, keyErr := w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
		tenantErr := w.RegisterTenant(t.Context(), uuid.New())
		for _, err := range []error{keyErr, tenantErr} {
			if err != nil {
				failed++
				wantKind(t, err, warehouse.ErrDamaged)
				wantText(t, err, "control.duckdb: ", "run `voicory repair` while no server runs")
			}
		}
		noError(t, w.Close())
		repaired, err := warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
		if err != nil || len(repaired.Remaining) > 0 {
			t.Fatalf("repair: %v, remaining %+v", err, repaired.Remaining)
		}
		w = open(t, dir)
		_, _, err = w.CreateKey(t.Context(), tenantA, control.Secret, control.KeySettings{})
		noError(t, err)
		noError(t, w.RegisterTenant(t.Context(), uuid.New()))
		_, _, err = w.Authenticate(valid)
		noError(t, err)
		noError(t, w.Close())
	}
	if failed < 2 {
		t.Errorf("got %d failed commands of %d blocks, want one for each index", failed, blocks)
	}
}

func wantText(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("got %q, want %q in it", err, part)
		}
	}
}

// The times of a tenant have the distance of the period, wherever the search begins.
func TestScrubAfter_IsPeriodic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		every := time.Duration(rapid.Int64Range(1, int64(1000*time.Hour)).Draw(t, "every"))
		last := time.Unix(0, rapid.Int64Range(0, 1<<61).Draw(t, "last"))
		id := uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		next := warehouse.ScrubAfter(id, every, last)
		if wait := next.Sub(last); wait <= 0 || wait > every {
			t.Fatalf("got a wait of %s in a period of %s", wait, every)
		}
		if again := warehouse.ScrubAfter(id, every, next); again.Sub(next) != every {
			t.Fatalf("got %s after %s, want a period of %s", again, next, every)
		}
	})
}
