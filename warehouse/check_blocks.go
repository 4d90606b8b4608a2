package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/duckdb"
)

// confirmAfter is the time after which blocks of an attached database that seem damaged are read again: DuckDB may have
// been writing them. Tests change it.
var confirmAfter = time.Second

// checkBlocks compares the checksums of all blocks of the tenant's store, or of the control database if the id is zero,
// and returns the damaged ones. Damage becomes a condition. A read of the store by other means finds only the damage of
// the blocks that it needs.
func (w *Warehouse) checkBlocks(ctx context.Context, tenant uuid.UUID, pace *pacer) ([]duckdb.DamagedBlock, error) {
	catalog, path := "control", w.folder.join(controlFile)
	if tenant != uuid.Nil {
		catalog, path = tenant.String(), w.tenantPath(tenant)
	}
	in := pacedReaderAt{ctx, pace, func(p []byte, at int64) (int, error) {
		if tenant != uuid.Nil { // for each read, because a DETACH of the tenant waits for it
			_, release, err := w.tenant(ctx, tenant)
			if err != nil {
				return 0, err
			}
			defer release()
		}
		file, err := w.storeFiles.get(w.folder, catalog, path)
		if err != nil {
			return 0, err
		}
		if at == 0 {
			dropCache(file) // so that the bytes come from the disk
		}
		return file.ReadAt(p, at)
	}}
	damaged, err := duckdb.CheckBlocks(in)
	if err != nil || len(damaged) == 0 {
		return nil, err
	}
	select {
	case <-time.After(confirmAfter):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	again, err := duckdb.CheckBlocks(in)
	if err != nil {
		return nil, err
	}
	damaged = slices.DeleteFunc(damaged, func(d duckdb.DamagedBlock) bool { return !slices.Contains(again, d) })
	if len(damaged) > 0 {
		_ = w.conditions.noteDamaged(catalog, fmt.Errorf("%w: %s", ErrDamaged, blocksText(damaged)))
	}
	return damaged, nil
}

func blocksText(damaged []duckdb.DamagedBlock) string {
	return fmt.Sprintf("%d of its blocks have other bytes than were written; the first one, at byte %d: %s", len(damaged),
		damaged[0].At, damaged[0].Fault)
}

// reportBlocks reports the damaged blocks of a database, if there are any.
func (v *verifier) reportBlocks(kind FindingKind, tenant uuid.UUID, path string, damaged []duckdb.DamagedBlock) {
	if len(damaged) > 0 {
		v.report(kind, tenant, path, "%s", blocksText(damaged))
	}
}

// checkFileBlocks compares the checksums of all blocks of a database that no process has open, and reports the damaged
// ones, and those that an interrupted checkpoint has left. It reports whether the database can be attached.
func (v *verifier) checkFileBlocks(ctx context.Context, kind FindingKind, tenant uuid.UUID, path string) (bool, error) {
	file, err := v.w.folder.open(path)
	if errors.Is(err, ErrInvalid) {
		return false, nil // a link is a finding already
	}
	if err != nil {
		return false, v.reportUnreadable(ctx, kind, tenant, path, err)
	}
	defer file.Close()
	log, err := v.w.readWAL(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	in := pacedReaderAt{ctx, &v.limit, file.ReadAt}
	torn, err := duckdb.TornBlocks(in, log)
	if err != nil {
		return false, err
	}
	if len(torn) > 0 {
		v.report(FoundInterrupted, tenant, path, "a checkpoint was interrupted, and left blocks at %v half-written", torn)
	}
	damaged, err := duckdb.CheckBlocks(in)
	damaged = slices.DeleteFunc(damaged, func(d duckdb.DamagedBlock) bool { return slices.Contains(torn, d.At) })
	v.reportBlocks(kind, tenant, path, damaged)
	return err == nil && len(torn)+len(damaged) == 0, err
}

// A pacedReaderAt reads at the rate of a pacer.
type pacedReaderAt struct {
	ctx  context.Context
	pace *pacer
	read func(p []byte, at int64) (int, error)
}

func (r pacedReaderAt) ReadAt(p []byte, at int64) (int, error) {
	if err := r.pace.wait(r.ctx, len(p)); err != nil {
		return 0, err
	}
	return r.read(p, at)
}
