package iceberg

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// UnionSource is the part of the warehouse that tables of all tenants are derived from.
type UnionSource interface {
	Source
	// TableTenants returns all tenants with their last commits.
	TableTenants(ctx context.Context) ([]warehouse.TableTenant, error)
}

// A Union is the table of one export with the rows of all tenants. It consists of the files of the tenants' tables, and
// has a manifest for each tenant. The partitions of a file are its tenant and its month.
//
// Each call of [Union.Load] that finds a change since the last one adds a snapshot. So the history of the table begins
// with the process. If the files of one tenant cannot be read, or may lack rows, Load returns an error: a query never
// omits a tenant silently. A snapshot is listed while the snapshots of all tenants in it are, see [Tables]: an erasure
// or the deletion of a tenant removes all snapshots with its earlier files at once.
type Union struct {
	layout
	source UnionSource
	now    func() time.Time

	loading   chan struct{}                 // semaphore of one slot, which guards the fields below
	tenants   map[uuid.UUID]*unionPart      // by tenant
	snapshots []unionSnapshot               // oldest first; the last one is current
	last      int64                         // identifier of the newest snapshot that was added
	manifests map[string]*unionManifestFile // those of the snapshots, by key
}

// unionPart is the part of a tenant in a table of all tenants.
type unionPart struct {
	commit   warehouse.TableCommit // of the tenant's store when the part was read
	manifest *unionManifestFile    // nil: the tenant has no files
}

// unionManifestFile is the manifest of a tenant's snapshot.
type unionManifestFile struct {
	manifestFile
	content []byte
	at      time.Time // of the tenant's publication
}

// unionSnapshot is a snapshot of a table of all tenants.
type unionSnapshot struct {
	id, parent int64
	// at is the time of the first publication that the snapshot has and the one before it lacks. DuckDB reads the newest
	// snapshot that is older than its transaction, so the time at which this process noticed a change would hide it.
	at      time.Time
	expires time.Time // zero: it is current
	parts   []*unionManifestFile
}

// maxUnionSnapshots is the maximum number of listed snapshots of a table of all tenants. Each of them needs 8 bytes for
// each tenant, and the manifests of the tenants that it alone has.
const maxUnionSnapshots = 100

// NewUnion returns the table of the export with the rows of all tenants of the source, which is at the location.
func NewUnion(source UnionSource, export schema.Export, location string, now func() time.Time) *Union {
	s := schemaOf(export)
	s.Fields = append([]field{tenantField}, s.Fields...)
	partition := []partitionField{{SourceID: tenantField.ID, ID: partitionID, Name: tenantField.Name,
		Transform: "identity"}}
	for i, p := range partitionOf(export) {
		p.ID = partitionID + 1 + i
		partition = append(partition, p)
	}
	return &Union{layout: newLayout(export, location, s, partition), source: source, now: now,
		loading: make(chan struct{}, 1), tenants: map[uuid.UUID]*unionPart{},
		manifests: map[string]*unionManifestFile{}}
}

// Load returns the metadata of the table and its URL. If currentOnly is true, the metadata lists no other snapshot than
// the current one.
func (u *Union) Load(ctx context.Context, currentOnly bool) (location string, metadata []byte, err error) {
	err = u.refreshed(ctx, func() {
		snapshots := u.snapshots
		if currentOnly && len(snapshots) > 1 {
			snapshots = snapshots[len(snapshots)-1:]
		}
		id := int64(0)
		if len(snapshots) > 0 {
			id = snapshots[len(snapshots)-1].id
		}
		location, metadata = u.Location+"/"+u.metadataKey(id), u.metadataOf(snapshots)
	})
	return location, metadata, err
}

// Metadata returns the content of the metadata with the key, and its time. It returns ErrNotFound if no listed snapshot
// has it.
func (u *Union) Metadata(ctx context.Context, key string) (content []byte, modified time.Time, err error) {
	modified = time.UnixMicro(0).UTC()
	err = u.refreshed(ctx, func() {
		if found, ok := u.manifests[key]; ok {
			content, modified = found.content, found.at
			return
		}
		if len(u.snapshots) == 0 && key == u.metadataKey(0) {
			content = u.metadataOf(nil)
			return
		}
		for i, s := range u.snapshots {
			switch key {
			case u.metadataKey(s.id):
				content, modified = u.metadataOf(u.snapshots[:i+1]), s.at
			case u.listKey(s.id):
				listed := make([]manifestFile, len(s.parts))
				for j, part := range s.parts {
					listed[j] = part.manifestFile
				}
				content, modified = u.list(s.id, s.parent, listed), s.at
			}
		}
	})
	if err == nil && content == nil {
		err = fmt.Errorf("%w: table %s has no metadata %q", warehouse.ErrNotFound, u.Export.Name,
			strings.TrimPrefix(key, metadataFolder))
	}
	return content, modified, err
}

// metadataOf returns the metadata of the table whose history ends with the last of the given snapshots.
func (u *Union) metadataOf(snapshots []unionSnapshot) []byte {
	listed := make([]listedSnapshot, len(snapshots))
	for i, s := range snapshots {
		listed[i] = listedSnapshot{id: s.id, parent: s.parent, at: s.at, list: u.listKey(s.id)}
		for _, part := range s.parts {
			listed[i].files += int(part.files)
			listed[i].rows += part.rows
			listed[i].bytes += part.bytes
		}
	}
	return u.metadata(TableID(uuid.Nil, u.Export), listed)
}

// refreshed calls f after the snapshots were compared with the tenants' stores. f must not keep references to the
// snapshots.
func (u *Union) refreshed(ctx context.Context, f func()) error {
	select {
	case u.loading <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-u.loading }()
	if err := u.refresh(ctx); err != nil {
		return fmt.Errorf("load table %s of all tenants: %w", u.Export.Name, err)
	}
	f()
	return nil
}

// refresh reads the parts of the tenants with commits since the last call. It adds a snapshot if parts have changed,
// and removes the snapshots that are not listed any more. After an error it has changed nothing.
func (u *Union) refresh(ctx context.Context) error {
	tenants, err := u.source.TableTenants(ctx)
	if err != nil {
		return err
	}
	histories := make([][]snapshot, len(tenants)) // of the tenants with commits; nil: none
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, tenant := range tenants {
		if part := u.tenants[tenant.ID]; part != nil && part.commit == tenant.Commit && !tenant.Failing {
			continue
		}
		group.Go(func() error {
			files, err := u.source.TableFiles(reading, tenant.ID, u.Export.Name)
			if err != nil {
				return &warehouse.TenantError{Tenant: tenant.ID, Err: err}
			}
			histories[i] = append([]snapshot{}, historyOf(files, u.now())...)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	next := map[uuid.UUID]*unionPart{}
	for i, tenant := range tenants {
		next[tenant.ID] = u.tenants[tenant.ID]
		if histories[i] != nil {
			next[tenant.ID] = u.replaced(tenant, next[tenant.ID], histories[i])
		}
	}
	for id := range u.tenants {
		if next[id] == nil { // deleted
			u.unlist(id, nil)
		}
	}
	u.tenants = next
	u.advance(u.now())
	return nil
}

// replaced returns the new part of a tenant, whose table has the history. It replaces the part before. It also calls
// unlist with the history.
func (u *Union) replaced(tenant warehouse.TableTenant, before *unionPart, history []snapshot) *unionPart {
	u.unlist(tenant.ID, history)
	part := &unionPart{commit: tenant.Commit}
	if len(history) == 0 {
		return part
	}
	current := history[len(history)-1]
	if before != nil && before.manifest != nil && before.manifest.id == current.id() {
		part.manifest = before.manifest
		return part
	}
	if len(current.files) == 0 {
		return part
	}
	of := make([]statistics, len(current.files))
	for i, f := range current.files {
		of[i] = u.knownBounds(f)
	}
	content := u.manifest(tenant.ID, current, of)
	url := u.Location + "/" + u.partKey(tenant.ID, current.id())
	part.manifest = &unionManifestFile{content: content, at: current.at,
		manifestFile: manifestFile{url, len(content), current.id(), tenant.ID, summarize(current)}}
	return part
}

// partKey returns the key of the manifest of a tenant's snapshot.
func (u *Union) partKey(tenant uuid.UUID, id int64) string {
	return fmt.Sprintf("%s%s-%d-%s-m0.avro", metadataFolder, tenant, id, u.version)
}

// unlist removes the snapshots whose part of the tenant is not in the tenant's history any more. It shortens the
// lifetime of the other snapshots, because a snapshot expires with the first of its parts that was replaced.
func (u *Union) unlist(tenant uuid.UUID, history []snapshot) {
	u.snapshots = slices.DeleteFunc(u.snapshots, func(s unionSnapshot) bool {
		i, found := s.find(tenant)
		return found && !slices.ContainsFunc(history, func(h snapshot) bool { return h.id() == s.parts[i].id })
	})
	for n := range u.snapshots {
		s := &u.snapshots[n]
		i, found := s.find(tenant)
		if !found {
			continue
		}
		for _, h := range history {
			if h.id() <= s.parts[i].id {
				continue
			}
			if expires := h.at.Add(warehouse.TableKept); s.expires.IsZero() || expires.Before(s.expires) {
				s.expires = expires
			}
			break
		}
	}
}

// find returns the index of the tenant's part of the snapshot.
func (s unionSnapshot) find(tenant uuid.UUID) (i int, found bool) {
	return slices.BinarySearchFunc(s.parts, tenant, func(part *unionManifestFile, tenant uuid.UUID) int {
		return bytes.Compare(part.tenant[:], tenant[:])
	})
}

// advance adds a snapshot if the parts differ from those of the current one, and removes expired snapshots.
func (u *Union) advance(now time.Time) {
	var parts []*unionManifestFile
	latest := now.UnixMicro()
	for _, part := range u.tenants {
		if part.manifest != nil {
			parts = append(parts, part.manifest)
			latest = max(latest, part.manifest.id) // the sequence number of a snapshot is not less than those of its files
		}
	}
	slices.SortFunc(parts, func(a, b *unionManifestFile) int { return bytes.Compare(a.tenant[:], b.tenant[:]) })
	current := func() *unionSnapshot { // nil: it was removed, or there was none
		if n := len(u.snapshots); n > 0 && u.snapshots[n-1].id == u.last {
			return &u.snapshots[n-1]
		}
		return nil
	}
	if before := current(); before == nil && (len(parts) > 0 || len(u.snapshots) > 0) ||
		before != nil && !slices.Equal(before.parts, parts) {
		next := unionSnapshot{id: max(latest, u.last+1), parts: parts}
		for _, part := range parts {
			if (next.at.IsZero() || part.at.Before(next.at)) && (before == nil || !slices.Contains(before.parts, part)) {
				next.at = part.at
			}
		}
		if n := len(u.snapshots); n > 0 {
			next.parent = u.snapshots[n-1].id
			if least := u.snapshots[n-1].at.Add(time.Millisecond); next.at.Before(least) {
				next.at = least
			}
		}
		if before != nil && before.expires.IsZero() {
			before.expires = now.Add(warehouse.TableKept)
		}
		u.last = next.id
		u.snapshots = append(u.snapshots, next)
	}
	u.snapshots = u.snapshots[max(0, len(u.snapshots)-maxUnionSnapshots):]
	u.snapshots = slices.DeleteFunc(u.snapshots, func(s unionSnapshot) bool {
		return s.id != u.last && !now.Before(s.expires)
	})
	if len(u.snapshots) > 0 { // a parent must be listed
		u.snapshots[0].parent = 0
	}
	u.manifests = map[string]*unionManifestFile{}
	for _, s := range u.snapshots {
		for _, part := range s.parts {
			u.manifests[u.partKey(part.tenant, part.id)] = part
		}
	}
}

// knownBounds returns the statistics of a file that the manifest of published files has: the bounds of created_at.
// Those of other columns are in the footers, which would have to be read for each file of each tenant.
func (u *Union) knownBounds(f warehouse.TableFile) (of statistics) {
	i := slices.IndexFunc(u.Export.Columns, func(c schema.Column) bool { return c.Name == "created_at" })
	if i < 0 || f.MinCreatedAt.IsZero() {
		return of
	}
	id := u.Export.Columns[i].ID
	bound := func(at time.Time) []columnStatistic[[]byte] {
		return []columnStatistic[[]byte]{{id, binary.LittleEndian.AppendUint64(nil, uint64(at.UnixMicro()))}}
	}
	of.lower, of.upper = bound(f.MinCreatedAt), bound(f.MaxCreatedAt)
	return of
}
