package iceberg

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Source is the part of the warehouse that tables are derived from.
type Source interface {
	// TableFiles returns the files of an export with their publications.
	TableFiles(ctx context.Context, tenant uuid.UUID, export string) ([]warehouse.TableFile, error)
	// TableCommit returns the last commit of the tenant's store. A following TableFiles reads the state after this commit
	// or a later one.
	TableCommit(tenant uuid.UUID) warehouse.TableCommit
	// OpenPublished opens and verifies a published file.
	OpenPublished(ctx context.Context, tenant uuid.UUID, export, name string) (warehouse.PublishedFile, *os.File, error)
	// OpenFooter opens the footer of a published file, which may be in the bucket of the lake only.
	OpenFooter(ctx context.Context, tenant uuid.UUID, export, name string) (
		warehouse.PublishedFile, warehouse.Footer, error)
}

// Tables derives the tables of all tenants.
type Tables struct {
	source Source
	now    func() time.Time

	mu         sync.Mutex
	statistics map[string]statistics     // guarded by mu; by the SHA-256 of the file; at most maxStatistics
	manifests  map[snapshotKey]manifests // guarded by mu; at most maxManifestBytes
	bytes      int                       // guarded by mu; of manifests
	loaded     map[loadedKey]loadedFiles // guarded by mu; at most maxLoaded
}

type loadedKey struct {
	tenant uuid.UUID
	export string
}

// loadedFiles are the files of a table after a commit.
type loadedFiles struct {
	commit warehouse.TableCommit
	files  []warehouse.TableFile
}

// snapshotKey identifies the manifests of a snapshot.
type snapshotKey struct{ location, list string }

// manifests are the manifest and the manifest list of a snapshot.
type manifests struct{ manifest, list []byte }

// Bounds of the memory of Tables. The statistics of a file need about 3 KB.
const (
	maxStatistics    = 8 << 10
	maxManifestBytes = 32 << 20
	maxLoaded        = 1 << 10
)

// NewTables returns the tables of the source's tenants.
func NewTables(source Source, now func() time.Time) *Tables {
	return &Tables{source: source, now: now, statistics: map[string]statistics{},
		manifests: map[snapshotKey]manifests{}, loaded: map[loadedKey]loadedFiles{}}
}

// Load returns the table of a tenant's export, which is at the location.
func (t *Tables) Load(ctx context.Context, tenant uuid.UUID, export schema.Export, location string) (*Table, error) {
	commit := t.source.TableCommit(tenant)
	files, err := t.source.TableFiles(ctx, tenant, export.Name)
	if err != nil {
		return nil, fmt.Errorf("load table %s of tenant %s: %w", export.Name, tenant, err)
	}
	t.mu.Lock()
	for other := range t.loaded { // any one, if there are too many
		if len(t.loaded) < maxLoaded {
			break
		}
		delete(t.loaded, other)
	}
	t.loaded[loadedKey{tenant, export.Name}] = loadedFiles{commit, files}
	t.mu.Unlock()
	return NewTable(tenant, export, location, files, t.now()), nil
}

// LoadForFile returns the table like Load. If the tenant's store has no commit since the last load, it does not read
// the store. So the caller must open a file of the table next, which notices a store that is missing or damaged. A scan
// makes hundreds of requests for ranges, and the query would be most of their cost.
func (t *Tables) LoadForFile(ctx context.Context, tenant uuid.UUID, export schema.Export, location string) (
	*Table, error,
) {
	t.mu.Lock()
	found, ok := t.loaded[loadedKey{tenant, export.Name}]
	t.mu.Unlock()
	if ok && found.commit == t.source.TableCommit(tenant) {
		return NewTable(tenant, export, location, found.files, t.now()), nil
	}
	return t.Load(ctx, tenant, export, location)
}

// Metadata returns the content of the metadata with the key, such as metadata/snap-1-2f.avro, and the time of its
// snapshot. It returns ErrNotFound if the metadata of no listed snapshot has the key, and ErrUnavailable if a file of
// the snapshot is damaged.
func (t *Tables) Metadata(ctx context.Context, table *Table, key string) (
	content []byte, modified time.Time, err error,
) {
	id := snapshotOf(key)
	if key == table.metadataKey(id) {
		if id == 0 && len(table.snapshots) == 0 {
			return table.metadataOf(nil), time.UnixMicro(0).UTC(), nil
		}
		for i, s := range table.snapshots {
			if s.id() == id {
				return table.metadataOf(table.snapshots[:i+1]), s.at, nil
			}
		}
	}
	s, ok := table.find(id)
	isList := key == table.listKey(id)
	if !ok || !isList && (key != table.manifestKey(id) || len(s.files) == 0) {
		return nil, modified, fmt.Errorf("%w: table %s has no metadata %q", warehouse.ErrNotFound, table.Export.Name,
			strings.TrimPrefix(key, metadataFolder))
	}
	found, err := t.manifestsOf(ctx, table, s)
	if isList {
		return found.list, s.at, err
	}
	return found.manifest, s.at, err
}

// manifestsOf returns the manifests of a snapshot.
func (t *Tables) manifestsOf(ctx context.Context, table *Table, s snapshot) (manifests, error) {
	key := snapshotKey{table.Location, table.listKey(s.id())}
	t.mu.Lock()
	found, ok := t.manifests[key]
	t.mu.Unlock()
	if ok {
		return found, nil
	}
	of, err := t.statisticsOfAll(ctx, table, s)
	if err != nil {
		return manifests{}, err
	}
	found.manifest, found.list = table.manifests(s, of)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.manifests[key]; !ok {
		t.manifests[key] = found
		t.bytes += found.size()
	}
	for other, m := range t.manifests { // any others, if there are too many
		if t.bytes <= maxManifestBytes {
			break
		}
		if other != key {
			delete(t.manifests, other)
			t.bytes -= m.size()
		}
	}
	return found, nil
}

func (m manifests) size() int { return len(m.manifest) + len(m.list) }

// statisticsOfAll returns the statistics of the files of a snapshot.
func (t *Tables) statisticsOfAll(ctx context.Context, table *Table, s snapshot) (of []statistics, err error) {
	of = make([]statistics, len(s.files))
	for i, f := range s.files {
		if of[i], err = t.statisticsOf(ctx, table, f); err != nil {
			return nil, fmt.Errorf("statistics of %s: %w", f.Name, err)
		}
	}
	return of, nil
}

// statisticsOf returns the statistics of a file.
func (t *Tables) statisticsOf(ctx context.Context, table *Table, f warehouse.TableFile) (statistics, error) {
	t.mu.Lock()
	found, ok := t.statistics[f.SHA256]
	t.mu.Unlock()
	if ok {
		return found, nil
	}
	file, content, err := t.source.OpenFooter(ctx, table.Tenant, table.Export.Name, f.Name)
	if err != nil {
		return found, err
	}
	defer content.Close()
	if found, err = readStatistics(content, file.Bytes, table.Export); err != nil {
		return found, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for other := range t.statistics { // any one, if there are too many
		if len(t.statistics) < maxStatistics {
			break
		}
		delete(t.statistics, other)
	}
	t.statistics[f.SHA256] = found
	return found, nil
}
