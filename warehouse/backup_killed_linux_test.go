package warehouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/backup"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// killSteps returns at most n numbers of steps, spread over all of them, or all with -faults.all.
func killSteps(all, n int) (steps []int) {
	if *allFaults {
		n = all
	}
	for i := range min(n, all) {
		steps = append(steps, (2*i+1)*all/(2*n))
	}
	return steps
}

// killAt calls do. The operations of a path fail after the first steps ones, so that the end of the process would leave
// the disk the same. While it is in this state, killAt calls meanwhile. If an operation has failed, do must fail.
func killAt(t *testing.T, disk *faultfs.FS, path string, steps int, do func() error, meanwhile func()) {
	t.Helper()
	fault := disk.Add(faultfs.Rule{Path: path, Skip: steps, Errno: syscall.EIO})
	defer fault.Remove()
	err := do()
	if hits := fault.Hits(); err == nil && len(hits) > 0 {
		t.Errorf("step %d: got no error, and %v has failed", steps, hits[0])
	}
	meanwhile()
}

// countSteps returns the number of operations that do needs.
func countSteps(disk *faultfs.FS, path string, do func() error) (int, error) {
	record := disk.Add(faultfs.Rule{Path: path})
	defer record.Remove()
	err := do()
	return len(record.Hits()), err
}

// soundBackups returns the number of backups at a path. It reports an error for each damaged one.
func soundBackups(t *testing.T, path string) int {
	t.Helper()
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return 0
	}
	source, err := backup.Open(t.Context(), path)
	if err != nil {
		if entries, _ := os.ReadDir(path); len(entries) < 3 { // a folder without its mark has no backup yet
			return 0
		}
		t.Fatal(err)
	}
	defer func() { noError(t, source.Close()) }()
	all, damaged, err := source.List()
	noError(t, err)
	for _, m := range all {
		found, err := backup.Verify(t.Context(), source, m)
		noError(t, err)
		damaged = append(damaged, found...)
	}
	if len(damaged) > 0 {
		t.Errorf("%s: got damaged backups %v, want none", path, damaged)
	}
	return len(all)
}

// A backup that is killed at any step, or by a power cut, leaves the earlier backups sound. The same command run again
// succeeds, and the server is unharmed.
func TestBackup_KilledAtEachStep(t *testing.T) {
	t.Parallel()
	disk, dir := faultfs.New(t, faultfs.Options{Recording: true}), emptyFolder(t)
	w := warehousetest.Open(t, dir)
	last := 0
	push := func() {
		t.Helper()
		last++
		merge(t, w, schema.Calls, call(tenantA, last, nil))
	}
	push()
	merge(t, w, schema.Calls, call(tenantB, 1, nil))
	publish(t, w)
	for _, form := range []struct {
		name  string
		path  func(step int) string
		steps int
	}{
		{"first in a folder", func(step int) string { return fmt.Sprint("first", step) }, 1},
		{"next in a folder", func(int) string { return "next" }, 3},
		{"archive", func(int) string { return "backup.tar.zst" }, 1},
	} {
		t.Run(form.name, func(t *testing.T) {
			write := func(dest string) func() error {
				return func() error {
					report, err := w.Backup(t.Context(), warehouse.BackupOptions{Dest: dest})
					if err == nil && len(report.Failed)+len(report.Missing) > 0 {
						err = fmt.Errorf("got %+v, want a complete backup", report)
					}
					return err
				}
			}
			noError(t, write(filepath.Join(disk.Path(), form.path(-1)))())
			push()
			publish(t, w)
			all, err := countSteps(disk, "", write(filepath.Join(disk.Path(), form.path(-2))))
			noError(t, err)
			for _, step := range killSteps(all, form.steps) {
				push()
				publish(t, w) // new files, which the next backup finds among the objects
				dest := filepath.Join(disk.Path(), form.path(step))
				before := soundBackups(t, dest)
				cut := filepath.Join(t.TempDir(), "cut")
				killAt(t, disk, "", step, write(dest), func() {
					disk.PowerCut(cut, uint64(step))
					push()
				})
				for _, dest := range []string{dest, filepath.Join(cut, form.path(step))} {
					if n := soundBackups(t, dest); n < before || n > before+1 {
						t.Errorf("step %d of %d: got %d backups, want the %d of before", step, all, n, before)
					}
					if err := write(dest)(); err != nil {
						t.Fatalf("step %d of %d: run again: %v", step, all, err)
					}
				}
				disk.PowerCut(cut+"2", uint64(step))
				for _, dest := range []string{filepath.Join(cut, form.path(step)), filepath.Join(cut+"2", form.path(step))} {
					if n := soundBackups(t, dest); n == 0 || n < before {
						t.Errorf("step %d of %d: run again: got %d backups, want more than %d", step, all, n, before)
					}
				}
				remove := []string{cut, cut + "2"} // each holds everything on the disk
				if form.path(step) != form.path(step+1) {
					remove = append(remove, dest)
				}
				for _, path := range remove {
					noError(t, os.RemoveAll(path))
				}
			}
		})
	}
	found, err := w.Verify(t.Context(), uuid.Nil)
	noError(t, err)
	if !found.Sound() || len(w.Conditions()) > 0 {
		t.Errorf("got findings %+v and conditions %v, want none", found.Findings, w.Conditions())
	}
	wantCallCount(t, w, tenantA, int64(last))
	noError(t, w.Close())
}

// A restore of one tenant that is killed at any step leaves the former rows, or is completed by the next start. The
// running server has the former rows or those of the backup. The same command run again succeeds.
func TestRestoreTenant_KilledAtEachStep(t *testing.T) {
	t.Parallel()
	disk, dest := faultfs.New(t, faultfs.Options{Recording: true}), filepath.Join(t.TempDir(), "backups")
	w := warehousetest.Open(t, filepath.Join(disk.Path(), "data"))
	w.SetHealPause(10 * time.Millisecond)
	defer func() { noError(t, w.Close()) }()
	add := func(w *warehouse.Warehouse, first, last int) {
		t.Helper()
		for n := first; n <= last; n++ {
			merge(t, w, schema.Calls, call(tenantA, n, nil))
		}
		publish(t, w)
	}
	merge(t, w, schema.Calls, call(tenantB, 1, nil))
	add(w, 1, 2)
	mustBackup(t, w, warehouse.BackupOptions{Dest: dest})
	add(w, 3, 4)
	restore := func(w *warehouse.Warehouse) func() error {
		return func() error {
			_, err := w.RestoreTenant(t.Context(), warehouse.RestoreOptions{Source: dest, Tenant: tenantA})
			return err
		}
	}
	all, err := countSteps(disk, "data/", restore(w))
	noError(t, err)
	for _, step := range killSteps(all, 2) {
		t.Run(fmt.Sprintf("step %d of %d", step, all), func(t *testing.T) {
			add(w, 3, 4)
			cut := filepath.Join(t.TempDir(), "cut")
			killAt(t, disk, "data/", step, restore(w), func() { disk.PowerCut(cut, uint64(step)) })
			again := warehousetest.Open(t, filepath.Join(cut, "data"))
			for _, w := range []*warehouse.Warehouse{again, w} {
				if w == again {
					wantCalls(t, w, 2, 4)
				}
				eventually(t, restore(w))
				wantCalls(t, w, 2)
				wantCallCount(t, w, tenantB, 1)
			}
			left, err := filepath.Glob(filepath.Join(again.Dir(), ".restore*"))
			noError(t, err)
			if len(left) > 0 {
				t.Errorf("got %v left, want nothing", left)
			}
			noError(t, again.Close())
		})
	}
	publish(t, w)
	found, err := w.Verify(t.Context(), uuid.Nil)
	noError(t, err)
	if !found.Sound() || len(w.Conditions()) > 0 {
		t.Errorf("got findings %+v and conditions %v, want none", found.Findings, w.Conditions())
	}
}

// wantCalls requires that tenant A has one of the numbers of calls.
func wantCalls(t *testing.T, w *warehouse.Warehouse, numbers ...int64) {
	t.Helper()
	page, err := w.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 1})
	noError(t, err)
	for _, n := range numbers {
		if page.Total == n {
			return
		}
	}
	t.Errorf("got %d calls, want %s", page.Total, strings.Trim(fmt.Sprint(numbers), "[]"))
}
