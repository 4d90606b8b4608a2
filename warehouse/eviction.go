package warehouse

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
)

// RunLakeCache evicts files until ctx is done. Without a cache, it ends the evictions of an earlier process: the files
// are published again from the stores, because the bucket may not be known any more.
func (w *Warehouse) RunLakeCache(ctx context.Context) {
	c := w.lakeCache
	if c == nil {
		w.publishEvicted(ctx)
		return
	}
	entries, err := w.folder.readDir(w.folder.join(filesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.folder.log.Error("find the published files; none is evicted before it is published again", "error", err)
	}
	for _, entry := range entries {
		if id, ok := canonicalID(entry.Name()); ok {
			c.note(id)
		}
	}
	timer := time.NewTicker(evictEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		w.readChanged(c)
		w.evict(ctx)
	}
}

// evict evicts files until those on this disk, and those that are being fetched, have at most bound bytes, as far as
// files can be evicted.
func (w *Warehouse) evict(ctx context.Context) {
	c := w.lakeCache
	c.evicting.Lock()
	defer c.evicting.Unlock()
	for tenant, names := range c.victims(time.Now()) {
		err := w.evictFiles(ctx, c, tenant, names)
		if err != nil && ctx.Err() == nil && !errors.Is(err, ErrUnavailable) {
			w.folder.log.Warn("evict published files; tried again", "tenant", tenant, "error", err)
		}
	}
}

// freedPart is the part of the bound that an eviction frees, so that the next file does not need another one.
const freedPart = 16

// victims returns the files to evict, by tenant and name: the least recently used ones that no share protects, and then
// the others.
func (c *lakeCache) victims(now time.Time) map[uuid.UUID]map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	excess := c.bytes + c.loading - c.bound
	if excess <= 0 {
		return nil
	}
	excess += c.bound / freedPart
	type candidate struct {
		key       fileKey
		bytes     int64
		used      time.Time
		protected bool
	}
	var all []candidate
	active := int64(0)
	for tenant, files := range c.files {
		recent := false
		for name, file := range files {
			isRecent := now.Sub(file.used) < recentUse
			recent = recent || isRecent
			if file.stored && !file.kept && c.pins[fileKey{tenant, name}] == nil {
				all = append(all, candidate{fileKey{tenant, name}, file.bytes, file.used, isRecent})
			}
		}
		if recent {
			active++
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return b.used.Compare(a.used) }) // the newest ones use the share first
	share, taken := c.bound/max(active, 1), map[uuid.UUID]int64{}
	for i := range all {
		taken[all[i].key.tenant] += all[i].bytes
		all[i].protected = all[i].protected && taken[all[i].key.tenant] <= share
	}
	slices.Reverse(all)
	slices.SortStableFunc(all, func(a, b candidate) int {
		switch {
		case a.protected == b.protected:
			return 0
		case b.protected:
			return -1
		}
		return 1
	})
	victims := map[uuid.UUID]map[string]bool{}
	for _, candidate := range all {
		if excess <= 0 {
			break
		}
		excess -= candidate.bytes
		if victims[candidate.key.tenant] == nil {
			victims[candidate.key.tenant] = map[string]bool{}
		}
		victims[candidate.key.tenant][candidate.key.name] = true
	}
	return victims
}

// publishEvicted has the evicted files of all tenants published again.
func (w *Warehouse) publishEvicted(ctx context.Context) {
	entries, err := w.folder.readDir(w.folder.join(filesDir))
	for _, entry := range entries {
		id, ok := canonicalID(entry.Name())
		if !ok || ctx.Err() != nil {
			continue
		}
		files, failed := w.outdateEvicted(ctx, id)
		if err = errors.Join(err, failed); files > 0 {
			w.folder.log.Warn("--lake-cache is not set any more; evicted files are published again from the store, and cannot "+
				"be read until then", "tenant", id, "files", files)
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		w.folder.log.Error("publish evicted files again; the next start tries again", "error", err)
	}
}

// outdateEvicted makes the publisher write the evicted files of a tenant again, and returns their number. Their records
// stay, so that they are not taken for damaged files until then. It removes the records of other files.
func (w *Warehouse) outdateEvicted(ctx context.Context, tenant uuid.UUID) (evicted int, err error) {
	if names, err := w.recordedNames(tenant); err != nil || len(names) == 0 {
		return 0, err
	}
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return 0, err
	}
	defer release()
	store.publishing.Lock() // a publication changes the names
	defer store.publishing.Unlock()
	names, err := w.recordedNames(tenant)
	if err != nil {
		return 0, err
	}
	files, err := publishedFiles(ctx, store.db)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		if !slices.Contains(names, file.Name) {
			continue
		}
		path := filepath.Join(w.filesPath(tenant), file.Name)
		exists, err := w.folder.exists(path)
		switch {
		case err != nil:
		case exists:
			err = w.folder.removeIfThere(path + recordSuffix)
		default:
			evicted++
			err = w.outdatePartition(ctx, store, file)
		}
		if err != nil {
			return evicted, err
		}
	}
	return evicted, nil
}
