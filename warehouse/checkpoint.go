package warehouse

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// DuckDB keeps the rows and updates of a WAL in memory too, uncompressed, until a checkpoint writes them to the file.
// One changed row takes a whole buffer per column, a megabyte or more. DuckDB itself checkpoints by the size of one
// WAL, or when a file is detached: with many tenants, their changes would fill its memory first, and it would spill
// them to its temporary folder repeatedly. So the memory of changes has bounds, as fractions of DuckDB's limit.
const (
	// checkpointAbove is the bound above which tenants are checkpointed, the least recently used first, until their
	// changes take less than checkpointTo.
	checkpointAbove = 0.25
	checkpointTo    = 0.17
	// waitAbove is the bound above which merges wait for these checkpoints.
	waitAbove = 0.5
)

// A checkpointer bounds the memory of changes that are in WALs. Its goroutine is woken by each release of the writing
// lock of a tenant. It holds no lock but the writing lock of the tenant that it checkpoints.
type checkpointer struct {
	w     *Warehouse
	limit float64       // memory limit of DuckDB in bytes
	woken chan struct{} // has room for one
	stop  chan struct{} // closed by close
	ended chan struct{} // closed when the goroutine has ended

	mu   sync.Mutex
	busy chan struct{} // closed when the running checkpoints have ended; nil: merges need not wait; guarded by mu
}

// start starts the goroutine. The memory limit of the instance must be set.
func (c *checkpointer) start(ctx context.Context, w *Warehouse) error {
	err := w.loader.QueryRowContext(ctx, statements.Get("merge/memory_limit")).Scan(&c.limit)
	if err != nil {
		return err // close must not wait for the goroutine
	}
	c.w, c.woken, c.stop, c.ended = w, make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(c.ended)
		for {
			select {
			case <-c.woken:
			case <-c.stop:
				return
			}
			if err := c.run(context.WithoutCancel(ctx)); err != nil {
				w.folder.log.Warn("checkpoint tenants; the next write tries again", "error", err)
			}
			select {
			case <-time.After(lookPause):
			case <-c.stop:
				return
			}
		}
	}()
	return nil
}

// lookPause is the minimum time between two measurements of the memory. A measurement takes about a millisecond.
const lookPause = 100 * time.Millisecond

// close ends the goroutine. No lock of a tenant may be released at the same time or later.
func (c *checkpointer) close() {
	if c.woken == nil {
		return // not started
	}
	close(c.stop)
	<-c.ended
}

// wake makes the goroutine measure the memory again. It never blocks.
func (c *checkpointer) wake() {
	select {
	case c.woken <- struct{}{}:
	default: // it will look anyway
	}
}

// wait waits for the running checkpoints if changes take too much memory. The caller holds no lock of a tenant.
func (c *checkpointer) wait(ctx context.Context) error {
	c.mu.Lock()
	busy := c.busy
	c.mu.Unlock()
	if busy == nil {
		return nil
	}
	select {
	case <-busy:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run checkpoints tenants if their changes take too much memory. It tries each tenant once: a snapshot that is open may
// keep the changes of its tenant in memory.
func (c *checkpointer) run(ctx context.Context) error {
	used, err := c.memory(ctx)
	if err != nil || used <= checkpointAbove*c.limit {
		return err
	}
	changed, err := c.changedStores()
	if err != nil || changed.maxMemory() <= checkpointAbove*c.limit {
		return err // the memory is that of staged rows, which a checkpoint does not release
	}
	if used > waitAbove*c.limit {
		busy := make(chan struct{})
		c.setBusy(busy)
		defer func() {
			c.setBusy(nil)
			close(busy)
		}()
	}
	var errs []error
	for i := 0; i < len(changed) && used > checkpointTo*c.limit && err == nil; i++ {
		errs = append(errs, c.w.checkpoint(ctx, changed[i].store))
		used, err = c.memory(ctx)
	}
	return errors.Join(append(errs, err)...)
}

func (c *checkpointer) setBusy(busy chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// memory returns the bytes of memory that changes take, and those of staged rows, which DuckDB does not separate.
func (c *checkpointer) memory(ctx context.Context) (bytes float64, err error) {
	err = c.w.loader.QueryRowContext(ctx, statements.Get("merge/memory_of_changes")).Scan(&bytes)
	return bytes, err
}

// A changedStore is an attached store with a WAL.
type changedStore struct {
	store *tenantStore
	wal   int64 // bytes
}

type changedStores []changedStore

// changedStores returns the attached stores that have a WAL, the least recently used first.
func (c *checkpointer) changedStores() (changed changedStores, err error) {
	for _, store := range c.w.tenants.leastRecentlyUsed() {
		size, err := c.w.folder.size(c.w.tenantPath(store.id) + walSuffix)
		if err != nil {
			return nil, err
		}
		if size > 0 {
			changed = append(changed, changedStore{store, size})
		}
	}
	return changed, nil
}

// maxMemory returns an upper bound of the bytes of memory that the changes take: two blocks of the largest size for
// each column, and the values.
func (c changedStores) maxMemory() (bytes float64) {
	const columns, perByte = 26, 8
	for _, one := range c {
		bytes += 2*columns*largeBlock + perByte*float64(one.wal)
	}
	return bytes
}

// checkpoint checkpoints a store if it is still attached.
func (w *Warehouse) checkpoint(ctx context.Context, store *tenantStore) error {
	if !w.tenants.retain(store) {
		return nil // its DETACH checkpoints it
	}
	defer w.tenants.drop(store)
	store.writing.Lock()
	defer store.writing.Mutex.Unlock() // does not wake the checkpointer, which is the caller
	return w.checkpointFile(ctx, w.loader, store.id.String(), w.tenantPath(store.id))
}

// checkpointFile checkpoints a database that has a WAL, unless another transaction prevents it. Without a WAL there is
// nothing to write, and an interrupted checkpoint could not be recognized, see [duckdb.TornBlocks].
func (w *Warehouse) checkpointFile(ctx context.Context, db execer, catalog, path string) error {
	size, err := w.folder.size(path + walSuffix)
	if err != nil || size == 0 {
		return err
	}
	return checkpointDatabase(ctx, db, catalog)
}

// checkpointDatabase executes CHECKPOINT, unless another transaction prevents it. Transactions that only read can
// prevent it too, such as one that lists the tables of all databases.
func checkpointDatabase(ctx context.Context, db execer, catalog string) error {
	if _, err := db.ExecContext(ctx, "CHECKPOINT "+statements.Ident(catalog)); !duckdb.IsTransaction(err) {
		return err
	}
	return nil
}

// leastRecentlyUsed returns the attached stores, the least recently used first.
func (p *tenantPool) leastRecentlyUsed() (stores []*tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, store := range p.open {
		if store.attached {
			stores = append(stores, store)
		}
	}
	slices.SortFunc(stores, func(a, b *tenantStore) int { return a.lastUsed.Compare(b.lastUsed) })
	return stores
}

// retain keeps a store attached until drop is called, and reports whether it is attached.
func (p *tenantPool) retain(store *tenantStore) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[store.id] != store {
		return false
	}
	store.users++
	return true
}

// drop ends retain. Unlike release, it does not count as a use of the store.
func (p *tenantPool) drop(store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	store.users--
	store.wakeIfIdle()
}

// A writingLock is the lock of a store's writers. Its release wakes the checkpointer, so that no writer can forget it.
type writingLock struct {
	sync.Mutex
	checkpointer *checkpointer
}

// Unlock releases the lock.
func (l *writingLock) Unlock() {
	l.Mutex.Unlock()
	l.checkpointer.wake()
}
