package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// maxAttached is the maximum number of attached tenants. An attached tenant with recent writes holds memory. To attach
// a detached tenant again takes milliseconds.
const maxAttached = 256

// RowGroup is the number of rows in a row group of a tenant's file, which is half of DuckDB's default. DuckDB writes a
// batch with at least that many new rows directly to the file instead of to the WAL, and a row group needs half of the
// memory.
const RowGroup = 61_440

// storageVersion is the storage format of new files, and of existing files from their next checkpoint on. DuckDB's
// default is compatible with very old versions; it compresses texts in a way that is slower to write and to read.
const storageVersion = "'v1.5.0'"

// Block sizes of tenants' files, in bytes. The size of a file's blocks cannot be changed later. A block holds values of
// few rows, so most of a large block is empty in the file of a small tenant; small blocks are faster to read and need
// less memory. Large blocks, which are DuckDB's default, are faster to write if there are many rows.
const (
	smallBlock = 64 << 10
	largeBlock = 256 << 10
	// manyRows is the number of rows in a tenant's first batch from which its file gets large blocks. Every other file
	// gets small blocks.
	manyRows = 4 * 2048
)

// maxReaders is the maximum number of concurrent readers, of all tenants. Further readers wait: more of them than keep
// the cores busy would make every reader slower.
var maxReaders = 2 * runtime.GOMAXPROCS(0)

// A tenantPool attaches tenants on demand and detaches the least recently used tenant if too many are attached.
//
// DETACH writes a checkpoint to the disk, so mu is never held during ATTACH or DETACH. A tenant whose DETACH is under
// way is in detaching instead of open: an open of that tenant waits for this DETACH, and all other tenants are opened
// meanwhile.
type tenantPool struct {
	w      *Warehouse
	detach func(ctx context.Context, catalog string, db *sql.DB) error // Warehouse.detachTenant, unless replaced by a test

	draining sync.Mutex // held by withDetached, before mu

	mu          sync.Mutex
	open        map[uuid.UUID]*tenantStore  // attached, or about to be attached; guarded by mu
	detaching   map[uuid.UUID]chan struct{} // closed after the DETACH; guarded by mu
	reserved    map[uuid.UUID]chan struct{} // closed at the end of the reservation, see reserve; guarded by mu
	made        map[uuid.UUID]*storeFacts   // of the files that this process has created; guarded by mu
	maxAttached int                         // the constant, unless lowered by a test; guarded by mu
}

// A tenantStore is the attached file of one tenant.
type tenantStore struct {
	id      uuid.UUID
	db      *sql.DB     // connections whose default database is the tenant's; nil until attached
	writing writingLock // held by one merge, or by one update of the manifest, at a time
	facts   *storeFacts // guarded by writing
	last    commitID    // of the last transaction; guarded by writing
	commits *commitFile // constant
	// publishedBefore is the time of the last publication of the tenant's former histories; guarded by writing.
	publishedBefore time.Time
	pruned          struct { // guarded by writing
		at      time.Time // of the push whose record was stored when the records of pushes were last pruned
		records int       // stored since then
	}
	publishing sync.Mutex // held by one publisher at a time
	// naming is held while a fetched file gets its name, including the query that checks that the manifest has the file.
	// It is also held while files that the manifest does not have any more are moved or removed. So no fetched file stays
	// in published/ without an entry in the manifest. It is acquired after publishing.
	naming      sync.Mutex
	pageIndexes pageIndexCache
	manifest    manifestCopy
	version     atomic.Int64 // incremented before and after each commit, so it is odd during a commit

	file fs.FileInfo // of the attached file; set by attaching
	lost atomic.Bool // the path has had another file since, or none

	victim    *tenantStore // detached before this store is attached; nil if the pool was not full
	attaching sync.Once
	failure   error // of the attachment; set by attaching

	users    int           // callers that have not released the store; guarded by tenantPool.mu
	attached bool          // a caller has used and released the store; guarded by tenantPool.mu
	lastUsed time.Time     // guarded by tenantPool.mu
	idle     chan struct{} // closed when users becomes 0; nil: no caller waits; guarded by tenantPool.mu
}

// committing runs commit, and increments version before and after it.
func (s *tenantStore) committing(commit func() error) error {
	s.version.Add(1)
	defer s.version.Add(1)
	return commit()
}

// unchanged reports whether no commit has happened since version was loaded. If so, everything that was read since
// then is from one state of the store.
func (s *tenantStore) unchanged(version int64) bool {
	return version%2 == 0 && s.version.Load() == version
}

// newStore returns a store that is not attached yet.
func (p *tenantPool) newStore(id uuid.UUID) *tenantStore {
	return &tenantStore{id: id, writing: writingLock{checkpointer: &p.w.checkpoints}}
}

// wakeIfIdle wakes the caller that waits for the last user of the store. The caller holds the lock of the pool.
func (s *tenantStore) wakeIfIdle() {
	if s.users == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

func (p *tenantPool) init(w *Warehouse) {
	p.w, p.detach, p.maxAttached = w, w.detachTenant, maxAttached
	p.open, p.detaching = map[uuid.UUID]*tenantStore{}, map[uuid.UUID]chan struct{}{}
	p.reserved = map[uuid.UUID]chan struct{}{}
	p.made = map[uuid.UUID]*storeFacts{}
}

// tenant attaches the tenant's file, and creates a missing file with small blocks. The store stays attached until the
// caller calls release.
func (w *Warehouse) tenant(ctx context.Context, id uuid.UUID) (_ *tenantStore, release func(), err error) {
	return w.tenantFor(ctx, id, smallBlock)
}

// tenantFor attaches the tenant's file. It registers a tenant without a file and creates the file with blocks of the
// given size in bytes. The context ends the wait for a DETACH of the tenant; it does not cancel an ATTACH or DETACH,
// because a half-done one would make the tenant unusable for all callers.
func (w *Warehouse) tenantFor(ctx context.Context, id uuid.UUID, block int) (
	_ *tenantStore, release func(), err error,
) {
	if err := w.CheckDeleted(id); err != nil {
		return nil, nil, fmt.Errorf("open tenant: %w", err)
	}
	store, err := w.tenants.acquire(ctx, id)
	if err != nil {
		return nil, nil, fmt.Errorf("open tenant %s: %w", id, err)
	}
	store.attaching.Do(func() {
		if store.failure = w.CheckDeleted(id); store.failure != nil {
			return // deleted while acquire waited for its DETACH
		}
		store.failure = w.noteOpened(id, w.attachTenant(context.WithoutCancel(ctx), store, block))
	})
	if store.failure != nil {
		w.tenants.forget(store)
		return nil, nil, fmt.Errorf("open tenant %s: %w", id, store.failure)
	}
	if err := w.checkInPlace(store); err != nil {
		w.tenants.release(store)
		return nil, nil, fmt.Errorf("open tenant %s: %w", id, err)
	}
	return store, func() { w.tenants.release(store) }, nil
}

// acquire returns the tenant's store, which may not be attached yet. The store stays in the pool until it is released.
// If a DETACH of the tenant is under way, acquire waits for it.
func (p *tenantPool) acquire(ctx context.Context, id uuid.UUID) (*tenantStore, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.awaitDetached(ctx, id); err != nil {
		return nil, err
	}
	if p.open[id] == nil {
		store := p.newStore(id)
		store.victim = p.takeVictim() // before the store itself is in the pool
		p.open[id] = store
	}
	p.open[id].users++
	return p.open[id], nil
}

// awaitDetached waits until no DETACH of the tenant is under way, and until it is not reserved for another caller. The
// caller holds mu, which is released meanwhile.
func (p *tenantPool) awaitDetached(ctx context.Context, id uuid.UUID) error {
	for {
		done := p.detaching[id]
		if done == nil && ctx.Value(reservation{}) != id {
			done = p.reserved[id]
		}
		if done == nil {
			return nil
		}
		p.mu.Unlock()
		var err error
		select {
		case <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		p.mu.Lock()
		if err != nil {
			return err
		}
	}
}

func (p *tenantPool) release(store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	store.users--
	store.attached, store.lastUsed = true, time.Now()
	store.wakeIfIdle()
}

// forget removes a store that could not be attached, so that the next open of the tenant tries again. Callers that
// wait for this store get its error.
func (p *tenantPool) forget(store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[store.id] == store {
		delete(p.open, store.id)
	}
	if store.idle != nil {
		close(store.idle)
		store.idle = nil
	}
}

// attachTenant detaches the victim of the store, if it has one, and attaches the store. It is the only function that
// attaches or creates the store of a tenant, so the rules in identity.go are enforced here: it returns a ConditionError
// for a store that is missing, belongs to another tenant, or lacks commits. If the DETACH of the victim fails, the pool
// has one tenant too many until a later DETACH succeeds; the failure is logged, because it is not one of this tenant.
func (w *Warehouse) attachTenant(ctx context.Context, store *tenantStore, block int) (err error) {
	if victim := store.victim; victim != nil {
		if err := w.tenants.detachVictim(ctx, victim); err != nil {
			w.folder.log.Warn("detach tenant; it stays attached until the next try", "tenant", victim.id, "error", err)
		}
		store.victim = nil
	}
	exists, err := w.storeExists(store.id)
	if err == nil && !exists {
		err = w.createStore(ctx, store.id, block)
	}
	if err != nil {
		return err
	}
	last, err := w.attachStore(ctx, store, exists)
	if err != nil {
		return err
	}
	store.commits, store.facts = w.commits, w.tenants.factsOf(store.id, !exists)
	store.file, err = w.folder.root.Lstat(storeFile(store.id))
	if err == nil {
		err = w.identify(ctx, store, last)
	}
	if err == nil && exists && last == nil {
		// The file of an earlier version gets its identity, so that the WAL of another store does not fit it.
		err = w.checkpointFile(ctx, w.loader, store.id.String(), w.tenantPath(store.id))
	}
	if err != nil {
		return errors.Join(err, w.detachTenant(ctx, store.id.String(), store.db))
	}
	return nil
}

// attachStore attaches the file of a tenant and returns its last commit, see checkStore. existed is false if the file
// was created just now.
func (w *Warehouse) attachStore(ctx context.Context, store *tenantStore, existed bool) (last *commitID, err error) {
	if existed {
		err = w.checkLogs(ctx, store.id)
	}
	if err == nil {
		check := func(ctx context.Context, db *sql.DB) (err error) {
			last, err = w.checkStore(ctx, store.id, db)
			return err
		}
		store.db, err = w.attachFile(ctx, store.id.String(), w.tenantPath(store.id), existingFile, check)
	}
	return last, w.storeError(store.id, err)
}

// createStore creates the file of a tenant that never had one, with blocks of the given size in bytes. The attachment
// gives the file its identity.
func (w *Warehouse) createStore(ctx context.Context, id uuid.UUID, block int) error {
	if err := w.mayCreateStore(); err != nil {
		return err
	}
	err := w.folder.writeAtomic(w.tenantPath(id), func(temp string) error {
		return w.makeFile(ctx, id.String(), temp, block)
	})
	if err == nil {
		w.healing.noteDurable(id.String())
	}
	return err
}

// factsOf returns the facts about the tenant's tables. They are complete if this process has created the file; made
// reports that it has done so just now. Otherwise they are loaded on demand.
func (p *tenantPool) factsOf(id uuid.UUID, made bool) *storeFacts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if made {
		p.made[id] = &storeFacts{loaded: true, tables: map[string]tableFacts{}} // a new file has no rows
	}
	if p.made[id] != nil {
		return p.made[id]
	}
	return &storeFacts{}
}

// reader waits for a reader's slot and returns the tenant's store. The queue has no bound of its own: callers are
// bounded by admission control before they get here.
func (w *Warehouse) reader(ctx context.Context, id uuid.UUID) (_ *tenantStore, release func(), err error) {
	releaseSlot, err := w.reading.Acquire(ctx, id, id)
	if err != nil {
		return nil, nil, err
	}
	store, releaseStore, err := w.tenant(ctx, id)
	if err != nil {
		releaseSlot()
		return nil, nil, err
	}
	return store, func() {
		releaseStore()
		releaseSlot()
	}, nil
}

func (w *Warehouse) tenantPath(id uuid.UUID) string {
	return w.folder.join(storeFile(id))
}

// storeFile returns the path of the tenant's file, relative to the data folder.
func storeFile(id uuid.UUID) string { return filepath.Join(warehouseDir, id.String()+storeSuffix) }

// storeSuffix is the suffix of the names of tenants' files.
const storeSuffix = ".duckdb"

// takeVictim moves the least recently used store without users from open to detaching and returns it. The caller must
// call detachVictim without holding mu. takeVictim returns nil if the pool is not full, or if all stores are in use:
// a pool over its bound is better than an open that fails. The caller holds mu.
func (p *tenantPool) takeVictim() *tenantStore {
	if len(p.open) < p.maxAttached {
		return nil
	}
	var oldest *tenantStore
	for _, store := range p.open {
		if store.users == 0 && (oldest == nil || store.lastUsed.Before(oldest.lastUsed)) {
			oldest = store
		}
	}
	if oldest != nil {
		delete(p.open, oldest.id)
		p.detaching[oldest.id] = make(chan struct{})
	}
	return oldest
}

// detachTenant detaches the store of the tenant whose id is the name of the database.
func (w *Warehouse) detachTenant(ctx context.Context, catalog string, db *sql.DB) error {
	return w.detach(ctx, catalog, w.tenantPath(uuid.MustParse(catalog)), db)
}

// detachVictim detaches a store that takeVictim has returned, and wakes the callers that wait for this. If the DETACH
// fails, the database may still be attached or not. A new store then takes the place of the old one: an open of the
// tenant attaches it if necessary, and a later DETACH, which the bound of the pool causes, tries again.
func (p *tenantPool) detachVictim(ctx context.Context, victim *tenantStore) error {
	err := p.detach(ctx, victim.id.String(), victim.db)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.open[victim.id] = p.newStore(victim.id)
		p.open[victim.id].lastUsed = time.Now()
	}
	close(p.detaching[victim.id])
	delete(p.detaching, victim.id)
	return err
}

// close detaches all tenants. No other method may run at the same time or later.
func (p *tenantPool) close() error {
	p.mu.Lock()
	open := p.open
	p.open = nil
	p.mu.Unlock()
	var errs []error
	for id, store := range open {
		errs = append(errs, p.detach(context.Background(), id.String(), store.db))
	}
	return errors.Join(errs...)
}

// existingFile is the block size to be passed for a file that exists. Such a file has its own.
const existingFile = 0
