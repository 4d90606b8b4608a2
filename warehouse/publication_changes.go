package warehouse

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// publicationChanges collects the tenants whose manifest has changed, for a replicator of the published files.
type publicationChanges struct {
	mu sync.Mutex
	// since has the time of the first change that was not taken, by tenant. It is nil if nothing follows the changes. mu
	// guards it.
	since map[uuid.UUID]time.Time
	// changed is called with each tenant whose manifest has changed; nil: none. It is constant once files are read.
	changed func(tenant uuid.UUID)
}

// note records that the manifest of a tenant has changed, or that the tenant was deleted.
func (c *publicationChanges) note(tenant uuid.UUID) {
	if c.changed != nil {
		c.changed(tenant)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since == nil {
		return
	}
	if _, known := c.since[tenant]; !known {
		c.since[tenant] = time.Now()
	}
}

// FollowPublications returns the tenants that have published files, and those that were deleted. From then on, changes
// are collected for [Warehouse.TakePublicationChanges].
func (w *Warehouse) FollowPublications() (published, deleted []uuid.UUID, err error) {
	c := &w.publicationChanges
	c.mu.Lock()
	if c.since == nil {
		c.since = map[uuid.UUID]time.Time{}
	}
	c.mu.Unlock()
	entries, err := w.folder.readDir(w.folder.join(filesDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	deleted = w.DeletedTenants()
	for _, entry := range entries {
		id, err := uuid.Parse(entry.Name())
		if err != nil || slices.Contains(deleted, id) {
			continue
		}
		if exists, err := w.storeExists(id); err != nil || exists {
			published = append(published, id)
		}
	}
	return published, deleted, nil
}

// TakePublicationChanges returns the tenants whose published files have changed since the last call, and those that
// were deleted, each with the time of its first change.
func (w *Warehouse) TakePublicationChanges() map[uuid.UUID]time.Time {
	c := &w.publicationChanges
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := maps.Clone(c.since)
	clear(c.since)
	return taken
}
