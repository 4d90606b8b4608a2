package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync/atomic"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// A group of tenants has so many, and no more rows: what these mean is found out by one statement, which takes no longer for some
// tenants than for one, but all of the group's files are kept from other writers until its last tenant is merged.
const (
	maxGroupTenants = 16
	maxGroupRows    = 2048
)

// groups are those of the tenants that have rows to merge, in their order; a tenant of many rows is one for itself.
func groupTenants(tenants []stagedTenant) (groups [][]stagedTenant) {
	rows := int64(0)
	for _, t := range tenants {
		if !t.hasRows() {
			continue
		}
		rows += t.rows
		if last := len(groups) - 1; last >= 0 && len(groups[last]) < maxGroupTenants && rows <= maxGroupRows {
			groups[last] = append(groups[last], t)
		} else {
			groups, rows = append(groups, []stagedTenant{t}), t.rows
		}
	}
	return groups
}

// mergeTenants merges every tenant's rows, of twice as many groups at a time as there are cores: one tenant's rows keep only one busy, and
// not while it waits for the disk or for a thread of DuckDB's.
func (s *Staged) mergeTenants(ctx context.Context) (total Counts, err error) {
	groups := groupTenants(s.tenants)
	merged, next := make([]Counts, len(groups)), atomic.Int64{}
	workers, ctx := errgroup.WithContext(ctx)
	for range min(len(groups), 2*runtime.GOMAXPROCS(0)) {
		workers.Go(func() error {
			conn, err := s.w.loader.Conn(ctx)
			if err != nil {
				return err
			}
			_, err = conn.ExecContext(ctx, setSearchPath("memory."+s.schema))
			for i := next.Add(1) - 1; i < int64(len(groups)) && err == nil; i = next.Add(1) - 1 {
				merged[i], err = s.mergeGroup(ctx, conn, groups[i])
			}
			return errors.Join(err, discard(conn))
		})
	}
	err = workers.Wait()
	for _, counts := range merged {
		total.Add(counts)
	}
	return total, err
}

// mergeGroup merges the staged rows of some tenants. Nobody else writes to their files meanwhile; two batches take them in one order,
// that of the tenants' ids, and so never wait for each other.
func (s *Staged) mergeGroup(ctx context.Context, conn *sql.Conn, group []stagedTenant) (counts Counts, err error) {
	found := make([]*mergePlan, len(group))
	for i, t := range group {
		store, release, err := s.w.openOrCreateTenant(ctx, t)
		if err != nil {
			return counts, s.mergeError(t, err)
		}
		defer release()
		store.writing.Lock()
		defer store.writing.Unlock()
		if found[i], err = store.planMerge(ctx, conn, s, t); err != nil {
			return counts, s.mergeError(t, err)
		}
	}
	if err := s.classify(ctx, conn, found); err != nil {
		return counts, fmt.Errorf("compare %s with what is kept: %w", s.batch.Dataset.Name, err)
	}
	if err := s.w.markUnpublished(found); err != nil {
		return counts, err
	}
	for i, f := range found {
		if err := s.mergeTenant(ctx, conn, f); err != nil {
			return counts, s.mergeError(group[i], err)
		}
		counts.Add(f.counts())
	}
	return counts, nil
}

// failed says of which tenant an error of its merge is.
func (s *Staged) mergeError(t stagedTenant, err error) error {
	return fmt.Errorf("merge %s of tenant %s: %w", s.batch.Dataset.Name, t.id.UUID, err)
}

// registered is tenant for one that may be new, with its first rows.
func (w *Warehouse) openOrCreateTenant(ctx context.Context, t stagedTenant) (*tenantStore, func(), error) {
	id, block := t.id.UUID, largeBlock
	exists, err := w.folder.exists(w.tenantPath(id))
	if err != nil {
		return nil, nil, err
	}
	if !exists {
		if err := w.registerTenant(ctx, id); err != nil { // before there is a file, so that no file is unknown
			return nil, nil, err
		}
	}
	if t.rows < manyRows {
		block = smallBlock
	}
	return w.tenantFor(ctx, id, block)
}

// mergeTenant writes what the staged rows of one tenant mean. Readers see all of it or nothing. The caller holds the store's writing.
func (s *Staged) mergeTenant(ctx context.Context, conn *sql.Conn, f *mergePlan) error {
	w, store, name := s.w, f.store, s.batch.Dataset.Name
	steps := f.statementNames()
	touched, err := f.stalePartitions(s.batch.Dataset)
	if err != nil {
		return err
	}
	f.slots = append(f.slots, "touched", touched)
	if s.state != nil && s.batch.Tenant != uuid.Nil {
		f.slots = append(f.slots, s.state.slots()...)
		steps = append(steps, "merge/save_state")
	}
	if len(steps) == 0 {
		return nil
	}
	store.facts.loaded = false // until it has become true: the outcome of a commit that fails is unknown
	if err := store.inTransaction(ctx, conn, func() error { return f.run(ctx, conn, steps...) }); err != nil {
		return err
	}
	store.facts.applyCommit(name, f)
	return w.tenants.maybeCheckpoint(ctx, conn, store, f.rowsWritten())
}

// inTransaction commits what do has done on the connection, or nothing of it.
func (s *tenantStore) inTransaction(ctx context.Context, conn *sql.Conn, do func() error) error {
	tx, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return s.committing(tx.Commit)
}

// markUnpublished leaves notes, outside the tenants' files, that these may hold what the lake does not show. They are there
// before the commits and go after the publishing, so that no crash between the two is overlooked.
func (w *Warehouse) markUnpublished(found []*mergePlan) error {
	writes := false
	for _, f := range found {
		if len(f.statementNames()) == 0 {
			continue
		}
		writes = true
		if err := w.folder.writeFile(w.unpublishedPath(f.store.id), nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("note unpublished rows: %w", err)
		}
	}
	if !writes {
		return nil
	}
	// All that there is of a note is its name. One that was there may be of a merge that failed before it came to this.
	return w.folder.sync(w.folder.join(warehouseDir))
}

const unpublishedSuffix = ".unpublished"

func (w *Warehouse) unpublishedPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+unpublishedSuffix)
}
