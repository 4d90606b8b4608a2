package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// pointerName is the name of a table's pointer, relative to its location. DuckDB and PyIceberg read it if they are
// given the location. Its content is the name of the metadata without metadataSuffix.
const (
	pointerName    = "metadata/version-hint.text"
	metadataSuffix = ".metadata.json"
)

// pointer is a pointer as this process has last read or written it.
type pointer struct{ etag, content string }

var (
	errConflict = errors.New("another server has replaced the pointer of a table: two servers must not have the same " +
		"--lake; stop one of them and start the other again")
	errTurn = errors.New("the turn of the tenant is over")
)

// isBucketError reports whether err is a failure of the bucket, and not of the files of the tenant.
func isBucketError(err error) bool {
	failure := (*requestError)(nil)
	return errors.As(err, &failure) || errors.Is(err, errPrecondition)
}

// maxSkew is the assumed difference between the clocks of the store and of this machine.
const maxSkew = 5 * time.Minute

// A history describes the publications of a tenant that the manifest records. An erasure or a retention ends the
// history, and begins another one with the current files.
type history struct {
	begun    time.Time // first publication of a file that the manifest names; it may be ahead of the clock
	replaced bool      // the manifest names files that were replaced
}

// ended reports whether an object that no pointer leads to belongs to a history before h, so that readers must not have
// it any more. last is the start of the last replication by this process, or zero. If last is before the start of h,
// all objects of that replication are of an earlier history. A new process has no last, and compares the modification
// time of the object, by the clock of the bucket.
func (h history) ended(o object, last time.Time) bool {
	switch {
	case !last.IsZero():
		return last.Before(h.begun)
	case h.replaced: // readers may have begun with the replaced files
		return o.modified.Before(h.begun.Add(-maxSkew))
	}
	return o.modified.Before(h.begun.Add(maxSkew))
}

// replicate makes the objects of a tenant match the manifest of its published files. It returns when the tenant must be
// replicated again without a change of the manifest. It returns errTurn if files are left, errConflict if another
// process has replaced a pointer, and a requestError for a failure of the bucket.
func (r *Replicator) replicate(ctx context.Context, tenant uuid.UUID, state *tenantState) (next time.Time, err error) {
	start := r.now()
	next = start.Add(compareEvery)
	objects, err := r.client.list(ctx, tenant.String()+"/")
	if err != nil {
		return next, err
	}
	if r.source.CheckDeleted(tenant) != nil {
		return next, r.removeAll(ctx, slices.Collect(maps.Keys(objects)))
	}
	tables, history, err := r.load(ctx, tenant)
	if err != nil {
		return next, err
	}
	var garbage []string
	replicated := map[string]bool{} // names of published files
	until := r.now().Add(r.turn)
	for _, table := range tables {
		named, err := r.write(ctx, table, state, objects, until)
		if err != nil {
			return next, err
		}
		prefix := r.keyOf(table, "")
		for key := range named {
			if name, isData := strings.CutPrefix(key, prefix+iceberg.DataFolder); isData {
				replicated[name] = true
			}
		}
		for key, o := range objects {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if named[key] {
				delete(state.unnamed, key)
				continue
			}
			since, seen := state.unnamed[key]
			if !seen {
				since = r.now()
				state.unnamed[key] = since
			}
			if due := since.Add(warehouse.TableKept); history.ended(o, state.last) || !r.now().Before(due) {
				garbage = append(garbage, key)
			} else if due.Before(next) {
				next = due
			}
		}
	}
	r.source.NoteReplicated(tenant, replicated)
	maps.DeleteFunc(state.unnamed, func(key string, _ time.Time) bool { _, exists := objects[key]; return !exists })
	if err := r.removeAll(ctx, garbage); err != nil {
		return next, err
	}
	state.last = start
	if history.begun.After(start) { // it began between the start and the query of the manifest
		state.last = history.begun
	}
	return next, nil
}

// keyOf returns the key of an object of a table.
func (r *Replicator) keyOf(table *iceberg.Table, name string) string {
	return table.Tenant.String() + "/" + table.Export.Name + "/" + name
}

// load returns the tables of a tenant and their history.
func (r *Replicator) load(ctx context.Context, tenant uuid.UUID) (tables []*iceberg.Table, h history, err error) {
	for _, export := range schema.Exports {
		files, err := r.source.TableFiles(ctx, tenant, export.Name)
		if err != nil {
			return nil, h, err
		}
		for _, f := range files {
			if h.begun.IsZero() || f.PublishedAt.Before(h.begun) {
				h.begun = f.PublishedAt
			}
			h.replaced = h.replaced || !f.ReplacedAt.IsZero()
		}
		location := r.client.url(tenant.String() + "/" + export.Name)
		tables = append(tables, iceberg.NewTable(tenant, export, location, files, r.now()))
	}
	if h.begun.IsZero() { // nothing was published
		h.begun = r.now()
	}
	return tables, h, nil
}

// write uploads the objects of a table that the bucket lacks, and then makes its pointer lead to them. It returns the
// keys that the pointer leads to, and the key of the pointer. A table without publications gets no pointer. After the
// time until, write uploads one more file and returns errTurn if others are left.
func (r *Replicator) write(ctx context.Context, table *iceberg.Table, state *tenantState, objects map[string]object,
	until time.Time,
) (named map[string]bool, err error) {
	pointerKey := r.keyOf(table, pointerName)
	stored, exists := objects[pointerKey]
	known, err := r.checkPointer(ctx, table, state, stored, exists)
	if err != nil {
		return nil, err
	}
	named = map[string]bool{}
	files, published := table.Files()
	if !published && !exists {
		return named, nil
	}
	begun := false
	group, uploading := errgroup.WithContext(ctx)
	group.SetLimit(maxUploads)
	for _, f := range files {
		key := r.keyOf(table, iceberg.DataFolder+f.Name)
		named[key] = true
		stored, exists := objects[key]
		damaged := r.isDamaged(key)
		if exists && stored.bytes == f.Bytes && !damaged {
			continue
		}
		if begun && r.now().After(until) {
			err = errTurn
			break
		}
		begun = true
		replaces := ""
		if damaged {
			replaces = stored.etag
		}
		group.Go(func() error { return r.upload(uploading, table, f.Name, key, replaces) })
	}
	if err = errors.Join(group.Wait(), err); err != nil {
		return nil, err
	}
	metadata, err := r.tables.Objects(ctx, table)
	if err != nil {
		return nil, err
	}
	for _, o := range metadata {
		key := r.keyOf(table, o.Key)
		named[key] = true
		if stored, exists := objects[key]; exists && stored.bytes == int64(len(o.Content)) {
			continue
		}
		if err := r.client.createContent(ctx, key, o.Content); err != nil {
			return nil, err
		}
	}
	name := strings.TrimSuffix(metadata[len(metadata)-1].Key, metadataSuffix)
	_, name, _ = strings.Cut(name, "/")
	named[pointerKey] = true
	return named, r.point(ctx, table, state, known, name)
}

// upload uploads a published file. If replaces is not empty, the object with this ETag is damaged and is replaced.
func (r *Replicator) upload(ctx context.Context, table *iceberg.Table, name, key, replaces string) error {
	file, content, err := r.source.OpenPublished(ctx, table.Tenant, table.Export.Name, name)
	if err != nil {
		return err
	}
	defer content.Close()
	p := put{key: key, content: io.NewSectionReader(content, 0, file.Bytes), bytes: file.Bytes,
		sha256: file.SHA256, mediaType: "application/vnd.apache.parquet", replaces: replaces}
	if replaces == "" {
		err = r.client.create(ctx, p)
	} else {
		_, err = r.client.put(ctx, p)
	}
	if err == nil {
		r.mu.Lock()
		delete(r.damaged, key)
		r.mu.Unlock()
	}
	return err
}

// isDamaged reports whether a reader has found that an object has another content than its file.
func (r *Replicator) isDamaged(key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.damaged[key]
}

// dataKey returns the key of the object of a published file.
func dataKey(tenant uuid.UUID, export, name string) string {
	return tenant.String() + "/" + export + "/" + iceberg.DataFolder + name
}

// FetchPublished implements warehouse.LakeBucket.
func (r *Replicator) FetchPublished(ctx context.Context, tenant uuid.UUID, file warehouse.PublishedFile, out io.Writer,
) error {
	return r.client.fetch(ctx, dataKey(tenant, file.Export, file.Name), file.Bytes, out)
}

// PublishedObjects implements warehouse.LakeBucket.
func (r *Replicator) PublishedObjects(ctx context.Context, tenant uuid.UUID) (map[string]int64, error) {
	objects, err := r.client.list(ctx, tenant.String()+"/")
	lengths := map[string]int64{}
	for key, o := range objects {
		key = strings.TrimPrefix(key, tenant.String()+"/")
		if export, name, isData := strings.Cut(key, "/"+iceberg.DataFolder); isData {
			lengths[export+"/"+name] = o.bytes
		}
	}
	return lengths, err
}

// NoteDamaged implements warehouse.LakeBucket. The next replication of the tenant uploads the file again.
func (r *Replicator) NoteDamaged(tenant uuid.UUID, export, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.damaged[dataKey(tenant, export, name)] = true
}

// checkPointer returns the pointer of a table as it is stored. It returns errConflict if another process has replaced
// it since this process read or wrote it.
func (r *Replicator) checkPointer(ctx context.Context, table *iceberg.Table, state *tenantState, stored object,
	exists bool,
) (known pointer, err error) {
	known, isKnown := state.pointers[table.Export.Name]
	if !exists {
		delete(state.pointers, table.Export.Name)
		return pointer{}, nil
	}
	if isKnown && known.etag == stored.etag {
		return known, nil
	}
	return r.readPointer(ctx, table, state, isKnown)
}

// readPointer reads the pointer of a table from the bucket. own is true if this process has read or written the pointer
// before. Then readPointer returns errConflict if another process has written it since. It returns no error if this
// process has, by a write whose answer was lost.
func (r *Replicator) readPointer(ctx context.Context, table *iceberg.Table, state *tenantState, own bool,
) (known pointer, err error) {
	key := r.keyOf(table, pointerName)
	content, etag, writer, err := r.client.get(ctx, key)
	if err != nil {
		return known, err
	}
	if own && writer != r.writer {
		return known, fmt.Errorf("%w: %s was replaced by the server that logs writer=%q, and this one logs writer=%s",
			errConflict, r.client.url(key), writer, r.writer)
	}
	known = pointer{etag, string(content)}
	state.pointers[table.Export.Name] = known
	return known, nil
}

// point makes the pointer of a table lead to the metadata with the name. known is the pointer that it replaces.
func (r *Replicator) point(ctx context.Context, table *iceberg.Table, state *tenantState, known pointer, name string,
) error {
	if known.content == name {
		return nil
	}
	key := r.keyOf(table, pointerName)
	etag, err := r.client.put(ctx, put{key: key, content: bytes.NewReader([]byte(name)), bytes: int64(len(name)),
		sha256: digestOf([]byte(name)), mediaType: "text/plain", writer: r.writer, replaces: known.etag})
	if errors.Is(err, errPrecondition) { // another process has replaced it, or this write was sent twice
		now, readErr := r.readPointer(ctx, table, state, true)
		if readErr != nil {
			return readErr
		}
		if now.content == name {
			return nil
		}
	}
	if err == nil {
		state.pointers[table.Export.Name] = pointer{etag, name}
	}
	return err
}

// removeAll removes objects, pointers first.
func (r *Replicator) removeAll(ctx context.Context, keys []string) error {
	slices.SortFunc(keys, func(a, b string) int {
		if isPointer(a) != isPointer(b) {
			return map[bool]int{true: -1, false: 1}[isPointer(a)]
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		if err := r.client.remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func isPointer(key string) bool { return strings.HasSuffix(key, "/"+pointerName) }
