package warehouse_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/faultfs"
	"github.com/voicory/warehouse/warehouse"
)

// A checkpoint puts new metadata into blocks that the last checkpoint still uses. Whatever part of it the disk has, a
// power cut takes no row and no key, and a running server attaches the database again.
func TestCheckpoint_CutAtEachWrite(t *testing.T) {
	t.Parallel()
	f := newFaultyWarehouse(t)
	interrupted := 0
	for _, one := range []struct {
		name   string
		file   string
		tenant uuid.UUID
		change func() error
	}{
		{"store", tenantA.String() + ".duckdb", tenantA, func() error { return f.push(tenantA) }},
		{"control database", "control.duckdb", uuid.Nil, f.createKey},
	} {
		checkpoint := func() error { return errors.Join(one.change(), f.w.Checkpoint(t.Context(), one.tenant)) }
		for range 2 { // so that blocks of metadata have free parts
			noError(t, checkpoint())
		}
		for writes, done := 0, false; !done; writes++ {
			t.Run(fmt.Sprintf("%s/%d writes", one.name, writes), func(t *testing.T) {
				f.t = t
				fault := f.disk.Add(faultfs.Rule{Ops: []faultfs.Op{faultfs.Write}, Path: one.file, Skip: writes, Errno: syscall.EIO,
					Short: true})
				defer fault.Remove()
				err := checkpoint()
				if done = len(fault.Hits()) == 0; done {
					noError(t, err)
					return
				}
				if err == nil {
					t.Error("got no error")
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
	if interrupted == 0 {
		t.Error("verify found no block that is half-written")
	}
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
