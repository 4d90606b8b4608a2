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

	"github.com/voicory/warehouse/warehouse/schema"
)

// Bounds of a group of tenants. One statement classifies the staged rows of the whole group and takes no longer than
// for one tenant. But the files of all tenants of the group stay locked until the last of them is merged.
const (
	maxGroupTenants = 16
	maxGroupRows    = 2048
)

// groupTenants returns the tenants that have rows to merge, in order, in groups of at most maxGroupTenants tenants and
// maxGroupRows rows. A tenant with more rows is a group of its own.
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

// mergeTenants merges the staged rows of every tenant. It merges twice as many groups at a time as there are cores: one
// group keeps at most one core busy, and none while it waits for the disk or for a thread of DuckDB. It returns an
// UnmergedError if it could merge the rows of some tenants only.
func (s *Staged) mergeTenants(ctx context.Context) (total schema.Counts, err error) {
	groups := groupTenants(s.tenants)
	merged, next := make([]schema.Counts, len(groups)), atomic.Int64{}
	unmerged := make([]UnmergedError, len(groups))
	workers, ctx := errgroup.WithContext(ctx)
	for worker := range min(len(groups), 2*runtime.GOMAXPROCS(0)) {
		workers.Go(func() error {
			conn, release, err := s.mergeConn(ctx, worker)
			if err != nil {
				return err
			}
			for i := next.Add(1) - 1; i < int64(len(groups)) && err == nil; i = next.Add(1) - 1 {
				merged[i], unmerged[i], err = s.mergeGroup(ctx, conn, groups[i])
			}
			return errors.Join(err, release())
		})
	}
	err = workers.Wait()
	for _, counts := range merged {
		total.Add(counts)
	}
	if err != nil {
		return total, err
	}
	var all UnmergedError
	for _, failed := range unmerged {
		all.Add(&failed)
	}
	return total, all.OrNil()
}

// mergeConn returns the connection of a worker, with the slot in its search path. The first worker gets the connection
// of the slot itself.
func (s *Staged) mergeConn(ctx context.Context, worker int) (conn *sql.Conn, release func() error, err error) {
	if worker == 0 {
		return s.slot.conn, func() error { return nil }, nil
	}
	conn, err = s.w.loader.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := conn.ExecContext(ctx, setSearchPath(s.slot.database+".main", "memory.main")); err != nil {
		return nil, nil, errors.Join(err, discard(conn))
	}
	return conn, func() error { return discard(conn) }, nil
}

// mergeGroup merges the staged rows of a group of tenants. A damaged store of one tenant must not keep the rows of the
// other tenants out. The error of a group does not say which tenant is its cause. So each tenant that was not merged
// gets a second try alone, and unmerged has the errors of those that fail again. If the cause concerns all tenants,
// such as a full disk, it is returned as err.
func (s *Staged) mergeGroup(
	ctx context.Context, conn *sql.Conn, group []stagedTenant,
) (counts schema.Counts, unmerged UnmergedError, err error) {
	counts, merged, err := s.mergeTogether(ctx, conn, group)
	if err == nil || concernsAll(ctx, err) {
		return counts, unmerged, err
	}
	if len(group) == 1 {
		unmerged.add(group[0].id.UUID, err)
		return counts, unmerged, nil
	}
	for i := merged; i < len(group); i++ {
		alone, _, err := s.mergeTogether(ctx, conn, group[i:i+1])
		counts.Add(alone)
		switch {
		case err == nil:
		case concernsAll(ctx, err):
			return counts, unmerged, err
		default:
			unmerged.add(group[i].id.UUID, err)
		}
	}
	return counts, unmerged, nil
}

// concernsAll reports whether the cause of an error of a merge also affects the merges of other tenants.
func concernsAll(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, ErrNoMemory) || errors.Is(err, ErrNoSpace)
}

// mergeTogether merges the staged rows of tenants, whose writing locks it holds. Every batch takes the locks in the
// order of tenant ids, so two batches cannot deadlock. After an error, merged is the number of tenants whose rows were
// merged, the first ones of the group.
func (s *Staged) mergeTogether(
	ctx context.Context, conn *sql.Conn, group []stagedTenant,
) (counts schema.Counts, merged int, err error) {
	if err := s.w.checkpoints.wait(ctx); err != nil {
		return counts, 0, err
	}
	plans := make([]*mergePlan, len(group))
	for i, t := range group {
		block := largeBlock
		if t.rows < manyRows {
			block = smallBlock
		}
		store, release, err := s.w.tenantFor(ctx, t.id.UUID, block)
		if err != nil {
			return counts, 0, s.mergeError(t, err)
		}
		defer release()
		store.writing.Lock()
		defer store.writing.Unlock()
		erased, err := s.dropErased(ctx, conn, t)
		if err != nil {
			return counts, 0, s.mergeError(t, err)
		}
		group[i].erased += erased // rows that an earlier try has dropped count too
		if plans[i], err = store.planMerge(ctx, conn, s, group[i]); err != nil {
			return counts, 0, s.mergeError(t, err)
		}
	}
	if err := s.classify(ctx, conn, plans); err != nil {
		err = fmt.Errorf("compare staged %s with existing rows: %w", s.batch.Dataset.Name, err)
		if len(group) == 1 {
			err = s.mergeError(group[0], err)
		}
		return counts, 0, err
	}
	if err := s.w.markUnpublished(plans); err != nil {
		return counts, 0, err
	}
	for i, plan := range plans {
		if err := s.mergeTenant(ctx, conn, plan); err != nil {
			return counts, i, s.mergeError(group[i], err)
		}
		counts.Add(plan.counts())
	}
	return counts, len(group), nil
}

// mergeError wraps err with the dataset and the tenant. It also records damage of the tenant's file as a condition. A
// connection cannot record it here, because the connections of merges belong to no tenant.
func (s *Staged) mergeError(t stagedTenant, err error) error {
	if errors.Is(err, ErrDamaged) {
		err = s.w.conditions.noteDamaged(t.id.UUID.String(), err)
	}
	return fmt.Errorf("merge %s of tenant %s: %w", s.batch.Dataset.Name, t.id.UUID, err)
}

// mergeTenant executes the plan of one tenant in one transaction. The caller holds the writing lock of the store.
func (s *Staged) mergeTenant(ctx context.Context, conn *sql.Conn, plan *mergePlan) error {
	store, name := plan.store, s.batch.Dataset.Name
	names := plan.statementNames()
	stale, err := plan.stalePartitions(s.batch.Dataset)
	if err != nil {
		return err
	}
	plan.slots = append(plan.slots, "touched", stale)
	if s.state != nil && s.batch.Tenant != uuid.Nil {
		if err := s.w.checkSourceRun(ctx, store.id); err != nil {
			return err
		}
		plan.slots = append(plan.slots, s.state.slots()...)
		names = append(names, s.state.statementNames()...)
	}
	if len(names) == 0 {
		return nil
	}
	store.facts.loaded = false // until the commit succeeds: if it fails, its outcome is unknown
	if err := store.changeRows(ctx, conn, func(*sql.Tx) error { return plan.run(ctx, conn, names...) }); err != nil {
		return err
	}
	store.facts.applyCommit(name, plan)
	return nil
}

// markUnpublished creates a marker file beside the file of each tenant whose plan changes rows: the file may hold
// rows that the lake does not. The markers are durable before the commits and are removed after publishing, so the
// next start finds every tenant whose publishing was interrupted by a crash.
func (w *Warehouse) markUnpublished(plans []*mergePlan) error {
	var tenants []uuid.UUID
	for _, plan := range plans {
		if len(plan.statementNames()) == 0 {
			continue
		}
		tenants = append(tenants, plan.store.id)
	}
	return w.markTenantsUnpublished(tenants...)
}

// markTenantsUnpublished creates the marker files of the tenants and makes them durable.
func (w *Warehouse) markTenantsUnpublished(tenants ...uuid.UUID) error {
	for _, id := range tenants {
		err := w.folder.writeFile(w.unpublishedPath(id), nil)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("mark tenant %s as unpublished: %w", id, err)
		}
	}
	if len(tenants) == 0 {
		return nil
	}
	// Markers are empty, so only their folder is synced. It is synced even if all markers existed: the merge that created
	// them may have failed before its sync.
	return w.folder.sync(w.folder.join(warehouseDir))
}

const unpublishedSuffix = ".unpublished"

func (w *Warehouse) unpublishedPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+unpublishedSuffix)
}
