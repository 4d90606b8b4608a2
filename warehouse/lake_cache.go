package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"github.com/voicory/warehouse/warehouse/admission"
)

// A LakeBucket is the bucket with a replica of the published files.
type LakeBucket interface {
	// FetchPublished writes the object of a published file to out. It returns an error that wraps fs.ErrNotExist if the
	// bucket does not have it. The caller compares the content.
	FetchPublished(ctx context.Context, tenant uuid.UUID, file PublishedFile, out io.Writer) error
	// PublishedObjects returns the lengths of the objects of a tenant's published files, by export, slash and name.
	PublishedObjects(ctx context.Context, tenant uuid.UUID) (map[string]int64, error)
	// NoteDamaged records that the object of a published file is missing or has another content.
	NoteDamaged(tenant uuid.UUID, export, name string)
}

// Errors of reading an evicted file.
var (
	// ErrCacheBusy is the kind of an error that ends when other readers have finished.
	ErrCacheBusy = errors.New("the cache of the lake is in use")
	// ErrCacheTooSmall is the kind of the error of a request for more bytes than the cache may have.
	ErrCacheTooSmall = errors.New("the cache of the lake is too small")
)

// lakeCache bounds the bytes of published files on this disk if the lake is in a bucket:
//
//   - A file is evicted only after the replicator has reported that the pointer of its table leads to its object.
//   - The files of a running SQL statement are pinned, because its worker opens them by name, and because their bytes
//     would stay on the disk until the worker ends. Other readers have a file open, which outlives its names.
//   - The pinned files and those that are being fetched have at most bound bytes. So the files have at most bound
//     bytes, and those that are not in the bucket yet.
//   - Each tenant has a share: the bound divided by the tenants that have used files in the last hour. While a tenant
//     has less than its share, files that it has used in the last hour are not evicted for other tenants.
//
// The names in published/ are the state. The index of them in memory is read again whenever the manifest of a tenant
// has changed.
type lakeCache struct {
	bucket  LakeBucket
	bound   int64           // bytes
	ctx     context.Context // ends when the warehouse is closed
	cancel  context.CancelFunc
	slots   *admission.Controller // one slot for each file that is being fetched
	flights singleflight.Group    // one request at a time for each file
	wake    chan struct{}         // ready if the index has to be read, or if files have to be evicted

	evicting sync.Mutex // held by one eviction at a time; acquired before mu

	mu      sync.Mutex // not held while a file is read or written, except to remove names
	running sync.WaitGroup
	closed  bool                                 // guarded by mu; no fetch begins any more
	files   map[uuid.UUID]map[string]*cachedFile // guarded by mu; files on this disk, by tenant and name
	changed map[uuid.UUID]bool                   // guarded by mu; tenants whose names must be read again
	bytes   int64                                // guarded by mu; of all files
	pins    map[fileKey]*pin                     // guarded by mu
	inUse   int64                                // guarded by mu; bytes that are pinned or being fetched
	loading int64                                // guarded by mu; bytes that are being fetched
	resume  time.Time                            // guarded by mu; no request is sent before, because the last one failed
	failure error                                // guarded by mu; of the last request
	stats   LakeCacheStats                       // guarded by mu; without the bytes
}

// LakeCacheStats are the state of the cache and its work since the start.
type LakeCacheStats struct {
	Bytes, InUse, Files             int64
	Evicted, EvictedBytes           int64
	Fetched, FetchedBytes, Failures int64
}

// A cachedFile is a current published file on this disk.
type cachedFile struct {
	bytes  int64
	used   time.Time
	stored bool // the pointer of the table in the bucket leads to the file
	kept   bool // it cannot be evicted
}

type fileKey struct {
	tenant uuid.UUID
	name   string
}

// A pin keeps a file on this disk, or is going to.
type pin struct {
	key   fileKey
	bytes int64 // that count as in use
	users int   // guarded by lakeCache.mu
}

// maxFetching bounds the files that are fetched at a time, and maxTenantFetches those of one tenant.
const (
	maxFetching      = 8
	maxTenantFetches = 4
)

// Times of the cache.
const (
	// recentUse is the time for which a tenant's use of a file protects it, as far as the tenant's share goes.
	recentUse = time.Hour
	// fetchPause is the time after a failed request for which no other is sent.
	fetchPause = 5 * time.Second
	// fetchWait is the maximum time for which a fetch waits for a slot.
	fetchWait = 10 * time.Second
	// evictEvery is the longest time between two comparisons with the bound.
	evictEvery = time.Minute
)

// UseLakeCache evicts published files that are in the bucket, so that those on this disk have at most the given number
// of bytes. It is called before files are read. The caller runs RunLakeCache.
func (w *Warehouse) UseLakeCache(bucket LakeBucket, bytes int64) {
	c := &lakeCache{bucket: bucket, bound: bytes, wake: make(chan struct{}, 1),
		slots: admission.New(admission.Limits{
			Total: maxFetching, PerTenant: maxTenantFetches, PerKey: maxTenantFetches,
			Waiters: 4 * maxFetching, WaitersPerTenant: 4 * maxTenantFetches, MaxWait: fetchWait}),
		files: map[uuid.UUID]map[string]*cachedFile{}, changed: map[uuid.UUID]bool{},
		pins: map[fileKey]*pin{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	w.lakeCache = c
	w.publicationChanges.changed = c.note
}

// NoteReplicated records that the pointers of a tenant's tables in the bucket lead to the files with the names.
func (w *Warehouse) NoteReplicated(tenant uuid.UUID, names map[string]bool) {
	c := w.lakeCache
	if c == nil {
		return
	}
	c.mu.Lock()
	delete(c.changed, tenant)
	c.mu.Unlock()
	w.readNames(c, tenant)
	c.mu.Lock()
	for name, file := range c.files[tenant] {
		file.stored = names[name]
	}
	c.mu.Unlock()
	c.wakeUp()
}

// LakeCacheStats returns the state of the cache, and false if the option is not set.
func (w *Warehouse) LakeCacheStats() (LakeCacheStats, bool) {
	c := w.lakeCache
	if c == nil {
		return LakeCacheStats{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stats := c.stats
	stats.Bytes, stats.InUse = c.bytes, c.inUse
	for _, files := range c.files {
		stats.Files += int64(len(files))
	}
	return stats, true
}

func (c *lakeCache) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default: // it is ready
	}
}

// note makes RunLakeCache read the names of a tenant again.
func (c *lakeCache) note(tenant uuid.UUID) {
	c.mu.Lock()
	c.changed[tenant] = true
	c.mu.Unlock()
	c.wakeUp()
}

// readChanged reads the names of the files of the tenants whose manifest has changed.
func (w *Warehouse) readChanged(c *lakeCache) {
	c.mu.Lock()
	changed := c.changed
	c.changed = map[uuid.UUID]bool{}
	c.mu.Unlock()
	for tenant := range changed {
		w.readNames(c, tenant)
	}
}

// readNames makes the index of a tenant match the files in its folder.
func (w *Warehouse) readNames(c *lakeCache, tenant uuid.UUID) {
	entries, err := w.folder.readDir(w.filesPath(tenant))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.folder.log.Warn("find the published files of a tenant; none of them is evicted", "tenant", tenant, "error", err)
		return
	}
	infos := map[string]fs.FileInfo{}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && filepath.Ext(entry.Name()) == ".parquet" {
			infos[entry.Name()] = info
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.files[tenant] {
		if infos[name] == nil {
			c.forget(tenant, name)
		}
	}
	for name, info := range infos {
		if c.files[tenant][name] == nil {
			c.insert(tenant, name, &cachedFile{bytes: info.Size(), used: info.ModTime()})
		}
	}
}

// insert adds a file to the index. The caller holds mu.
func (c *lakeCache) insert(tenant uuid.UUID, name string, file *cachedFile) {
	if c.files[tenant] == nil {
		c.files[tenant] = map[string]*cachedFile{}
	}
	c.files[tenant][name] = file
	c.bytes += file.bytes
}

// forget removes a file from the index. The caller holds mu.
func (c *lakeCache) forget(tenant uuid.UUID, name string) {
	if file := c.files[tenant][name]; file != nil {
		c.bytes -= file.bytes
		delete(c.files[tenant], name)
	}
	if len(c.files[tenant]) == 0 {
		delete(c.files, tenant)
	}
}

// add adds a file that was fetched.
func (c *lakeCache) add(tenant uuid.UUID, file PublishedFile) {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.files[tenant][file.Name]
	if entry == nil {
		entry = &cachedFile{bytes: file.Bytes}
		c.insert(tenant, file.Name, entry)
	}
	entry.used, entry.stored = time.Now(), true
}

// keep records that a file cannot be evicted.
func (c *lakeCache) keep(tenant uuid.UUID, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if file := c.files[tenant][name]; file != nil {
		file.kept = true
	}
}

// touch records that a file is read.
func (c *lakeCache) touch(tenant uuid.UUID, name string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if file := c.files[tenant][name]; file != nil {
		file.used = time.Now()
	}
}

// remove calls removeContent, which removes the names of a file, unless the file is pinned. It holds mu meanwhile, so
// that a file that is pinned afterwards is found to be missing.
func (c *lakeCache) remove(tenant uuid.UUID, name string, removeContent func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	file := c.files[tenant][name]
	if file == nil || !file.stored || c.pins[fileKey{tenant, name}] != nil {
		return nil
	}
	if err := removeContent(); err != nil {
		return err
	}
	c.stats.Evicted++
	c.stats.EvictedBytes += file.bytes
	c.forget(tenant, name)
	return nil
}

// pin keeps files on this disk until release is called. A file that is not on the disk yet is kept as soon as it is
// fetched. pin returns ErrCacheBusy or ErrCacheTooSmall if the files have too many bytes, without those that are not in
// the bucket yet.
func (c *lakeCache) pin(tenant uuid.UUID, files []PublishedFile) (release func(), err error) {
	if c == nil {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	pins, need, more := make([]*pin, len(files)), int64(0), int64(0)
	for i, file := range files {
		key := fileKey{tenant, file.Name}
		if pins[i] = c.pins[key]; pins[i] == nil {
			pins[i] = &pin{key: key, bytes: file.Bytes}
			if entry := c.files[tenant][file.Name]; entry != nil && !entry.stored {
				pins[i].bytes = 0
			}
			more += pins[i].bytes
		}
		need += pins[i].bytes
	}
	if err := c.checkUse(need, more); err != nil {
		return nil, err
	}
	c.inUse += more
	for _, p := range pins {
		p.users++
		c.pins[p.key] = p
	}
	return sync.OnceFunc(func() { c.unpin(pins) }), nil
}

func (c *lakeCache) unpin(pins []*pin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range pins {
		if p.users--; p.users == 0 {
			c.inUse -= p.bytes
			delete(c.pins, p.key)
		}
	}
	if c.bytes > c.bound {
		c.wakeUp()
	}
}

// reserve accounts for a file that is going to be fetched, until release is called.
func (c *lakeCache) reserve(tenant uuid.UUID, file PublishedFile) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	bytes := file.Bytes
	if c.pins[fileKey{tenant, file.Name}] != nil { // it counts already
		bytes = 0
	}
	if err := c.checkUse(file.Bytes, bytes); err != nil {
		return nil, err
	}
	c.inUse += bytes
	c.loading += file.Bytes
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.inUse -= bytes
		c.loading -= file.Bytes
	}, nil
}

// checkUse returns an error if more bytes cannot be added to those in use. need is the total number of bytes that the
// caller needs at a time. The caller holds mu.
func (c *lakeCache) checkUse(need, more int64) error {
	switch {
	case need > c.bound:
		return fmt.Errorf("%w: %d bytes are needed at a time, and --lake-cache is %d", ErrCacheTooSmall, need, c.bound)
	case more > 0 && c.inUse+more > c.bound:
		return fmt.Errorf("%w: %d of %d bytes", ErrCacheBusy, c.inUse, c.bound)
	}
	return nil
}

// begin reports that a fetch begins. It returns an error if the last request has just failed, or if the warehouse is
// being closed. The caller calls ended when the fetch ends.
func (c *lakeCache) begin() (ended func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, context.Canceled
	case time.Now().Before(c.resume):
		return nil, c.failure
	}
	c.running.Add(1)
	return c.running.Done, nil
}

// fail records that a request to the bucket has failed, and returns its error with its kind.
func (c *lakeCache) fail(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resume = time.Now().Add(fetchPause)
	c.failure = &ConditionError{Kind: BucketFailing, Err: fmt.Errorf("fetch a published file: %w", err)}
	return c.failure
}

// count counts a fetch.
func (c *lakeCache) count(bytes int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.stats.Failures++
		return
	}
	c.stats.Fetched++
	c.stats.FetchedBytes += bytes
}

// close cancels the fetches, and waits for them.
func (c *lakeCache) close() {
	if c == nil {
		return
	}
	c.cancel()
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}
