package warehouse_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A checkpoint puts new metadata into blocks that the last checkpoint still uses. Whatever part of it the disk has, a
// power cut takes no row and no key, and a running server attaches the database again. Without -faults.all, the last
// two writes are tried.
func TestCheckpoint_CutAtEachWrite(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	interrupted := 0
	for _, one := range []struct {
		name, file string
		checkpoint func() error
	}{
		{"store", tenantA.String() + ".duckdb", func() error {
			return errors.Join(f.push(tenantA), f.w.Checkpoint(t.Context(), tenantA))
		}},
		{"control database", "control.duckdb", func() error {
			return errors.Join(f.createKey(), f.w.Checkpoint(t.Context(), uuid.Nil))
		}},
	} {
		noError(t, one.checkpoint()) // so that blocks of metadata have free parts
		all, err := countWrites(f.disk, one.file, one.checkpoint)
		noError(t, err)
		first := all - 2 // blocks of metadata are written last
		if *allFaults {
			first = 0
		}
		for writes := first; writes < all; writes++ {
			t.Run(fmt.Sprintf("%s/%d of %d writes", one.name, writes, all), func(t *testing.T) {
				f.t = t
				fault := f.disk.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Path: one.file, Skip: writes, Errno: syscall.EIO,
					Short: true})
				defer fault.Remove()
				if err := one.checkpoint(); err == nil && len(fault.Hits()) > 0 {
					t.Error("a checkpoint succeeded, and one of its writes failed")
				}
				interrupted += repairPowerCut(f)
				f.checkPowerCut(func(w *warehouse.Warehouse) error {
					_, _, err := w.Authenticate(f.text)
					return err
				})
				fault.Remove()
				eventually(t, f.checkHealed)
			})
			f.t = t
		}
	}
	if interrupted == 0 && *allFaults { // it depends on the seeds of the power cuts
		t.Error("verify found no block that is half-written")
	}
}

// countWrites returns the number of writes to a file that do needs.
func countWrites(disk *faultfs.FS, file string, do func() error) (int, error) {
	record := disk.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Path: file})
	defer record.Remove()
	err := do()
	return len(record.Hits()), err
}

// A failed sync leaves the new blocks of a checkpoint in memory, and any part of them on the disk. A power cut after
// the database was attached again takes no commit.
func TestCheckpoint_FailedSync(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	for range 2 { // so that blocks of metadata have free parts
		noError(t, errors.Join(f.push(tenantA), f.createKey(), f.w.Checkpoint(t.Context(), tenantA),
			f.w.Checkpoint(t.Context(), uuid.Nil)))
	}
	noError(t, errors.Join(f.push(tenantA), f.createKey()))
	fault := f.disk.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Fsync}, Path: "*.duckdb", Errno: syscall.EIO})
	defer fault.Remove()
	for _, tenant := range []uuid.UUID{tenantA, uuid.Nil} {
		if err := f.w.Checkpoint(t.Context(), tenant); err == nil {
			t.Fatal("the checkpoint succeeded without a sync")
		}
	}
	fault.Remove()
	eventually(t, f.checkHealed)
	for range 6 {
		noError(t, f.push(tenantA))
		f.checkPowerCut(func(w *warehouse.Warehouse) error {
			_, _, err := w.Authenticate(f.text)
			return err
		})
	}
}

// A commit that is followed by a checkpoint is in the log before. The log says that the checkpoint was interrupted.
func TestCheckpoint_AfterALargeCommitHasALog(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	noError(t, f.w.Checkpoint(t.Context(), tenantA))
	restore := f.w.SetMaxLog(t, "1KB")
	fault := f.disk.Add(faultfs.Rule{
		Ops: []faultfs.Op{faultfs.Write}, Path: tenantA.String() + ".duckdb", Errno: syscall.EIO,
	})
	defer fault.Remove()
	var rows []any
	for n := range 600 {
		rows = append(rows, call(tenantA, 1000+n, nil))
	}
	_, _, err := f.w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "test.ndjson", Tenant: tenantA,
		Rows: lines(t, rows...)})
	if len(fault.Hits()) == 0 {
		t.Fatal("no checkpoint followed the commit")
	}
	text, missing := os.ReadFile(filepath.Join(f.dir, "warehouse", tenantA.String()+".duckdb.wal"))
	noError(t, missing)
	log, invalid := duckdb.ReadWAL(bytes.NewReader(text), int64(len(text)))
	noError(t, invalid)
	if log.Checkpoint == nil {
		t.Errorf("after a push that returned %v: got a log %+v, want the beginning of a checkpoint", err, log)
	}
	fault.Remove()
	restore()
	eventually(t, func() error { return f.w.Ready(t.Context()) })
}

// repairPowerCut verifies and repairs what the disk would hold after a power cut. It returns the number of databases
// that have half-written blocks, and requires that nothing else is found.
func repairPowerCut(f *faultyWarehouse) (interrupted int) {
	folder := filepath.Join(f.t.TempDir(), "cut")
	f.disk.PowerCut(folder, uint64(f.last))
	opts := warehouse.Options{Dir: filepath.Join(folder, "data")}
	found, err := warehouse.VerifyFolder(f.t.Context(), opts, uuid.Nil)
	noError(f.t, err)
	for _, finding := range found.Findings {
		if finding.Kind == warehouse.FoundInterrupted {
			interrupted++
		}
	}
	if !found.Sound() {
		f.t.Errorf("got findings %+v, want only interrupted checkpoints", found.Findings)
	}
	if interrupted == 0 {
		return 0
	}
	repairs, err := warehouse.RepairFolder(f.t.Context(), opts, warehouse.RepairOptions{})
	noError(f.t, err)
	if len(repairs.Remaining) > 0 || len(repairs.Repairs) < interrupted {
		f.t.Errorf("got repairs %+v, want completed blocks", repairs)
	}
	return interrupted
}
