package warehouse

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// Published holds the totals of a call of Publish.
type Published struct {
	Files int   `json:"files"` // files written, of all exports
	Rows  int64 `json:"rows"`  // rows written, of datasets only, not of derived exports
}

// Publish updates the lake. It rewrites every partition that commits have changed since it was published, and replaces
// each file atomically. An error of one tenant or partition does not stop the others; Publish returns all errors,
// joined. The next call publishes what an error or a crash has left. Publish also removes expired replaced files.
func (w *Warehouse) Publish(ctx context.Context) (total Published, err error) {
	tenants, err := w.unpublished()
	if err != nil {
		return total, fmt.Errorf("publish: %w", err)
	}
	published, failed := make([]Published, len(tenants)), make([]error, len(tenants))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range tenants {
		group.Go(func() error {
			id, err := uuid.Parse(name)
			if err != nil {
				failed[i] = fmt.Errorf("publish: %q is not the id of a tenant: %w", name, err)
			} else if published[i], err = w.publishTenant(ctx, id); err != nil {
				failed[i] = fmt.Errorf("publish tenant %s: %w", id, err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in failed
	for _, p := range published {
		total.add(p)
	}
	return total, errors.Join(append(failed, w.removeReplaced())...)
}

func (p *Published) add(other Published) {
	p.Files += other.Files
	p.Rows += other.Rows
}

// count adds the files of a partition. The first file is the dataset's.
func (p *Published) count(files []PublishedFile) {
	for i, f := range files {
		if f.Rows > 0 {
			p.Files++
		}
		if i == 0 {
			p.Rows += f.Rows
		}
	}
}

// unpublished returns the ids of the tenants that may have unpublished commits. These have a marker file beside their
// file, or no folder of published files because an earlier version wrote them.
func (w *Warehouse) unpublished() (names []string, err error) {
	entries, err := w.folder.readDir(w.folder.join(warehouseDir))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if name, marked := strings.CutSuffix(entry.Name(), unpublishedSuffix); marked && !slices.Contains(names, name) {
			names = append(names, name)
		}
		name, file := strings.CutSuffix(entry.Name(), storeSuffix)
		if id, err := uuid.Parse(name); file && err == nil && !slices.Contains(names, name) {
			published, err := w.folder.exists(w.filesPath(id))
			if err != nil {
				return nil, err
			}
			if !published {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// publishTenant publishes the pending partitions of a tenant. It removes the tenant's marker file if none is left.
func (w *Warehouse) publishTenant(ctx context.Context, id uuid.UUID) (total Published, err error) {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return total, err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()
	if err := w.folder.mkdir(w.filesPath(id)); err != nil {
		return total, err
	}
	pending, err := pendingPartitions(ctx, store.db)
	if err != nil {
		return total, err
	}
	// A partition has few row groups, so one partition at a time would not keep all cores busy.
	var group errgroup.Group
	files, failed := make([][]PublishedFile, len(pending)), make([]error, len(pending))
	for i, p := range pending {
		group.Go(func() error {
			files[i], failed[i] = w.publishThrottled(ctx, store, p)
			return nil
		})
	}
	_ = group.Wait() // the errors are in failed
	err = w.folder.sync(w.filesPath(id))
	if err == nil {
		err = store.updateManifest(ctx, pending, files)
	}
	if err != nil {
		return total, errors.Join(append(failed, err)...)
	}
	for _, written := range files {
		total.count(written)
	}
	if err := errors.Join(append(failed, w.archiveStale(ctx, store))...); err != nil {
		return total, err
	}

	store.writing.Lock() // prevents a commit between the query and the removal
	defer store.writing.Unlock()
	pending, err = pendingPartitions(ctx, store.db)
	if err != nil || len(pending) > 0 {
		return total, err
	}
	return total, w.folder.removeDurable(w.unpublishedPath(id))
}

// publishThrottled publishes a partition while at most one partition per core is being written. If DuckDB runs out of
// memory, it tries again with smaller row groups while no other partition is written.
func (w *Warehouse) publishThrottled(ctx context.Context, store *tenantStore, p partition) (
	files []PublishedFile, err error,
) {
	all := int64(runtime.GOMAXPROCS(0))
	for _, try := range []struct {
		slots    int64
		rowGroup int
	}{{slots: 1, rowGroup: parquetRowGroup}, {slots: all, rowGroup: parquetSmallRowGroup}} {
		if err := w.publishing.Acquire(ctx, try.slots); err != nil {
			return nil, err
		}
		files, err = w.publishPartition(ctx, store, p, try.rowGroup)
		w.publishing.Release(try.slots)
		if !errors.Is(err, ErrNoMemory) {
			break
		}
	}
	return files, err
}
