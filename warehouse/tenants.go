package warehouse

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// Tenant is one business whose rows are kept apart from all others'.
type Tenant struct {
	ID        uuid.UUID `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

// Tenants lists the tenants, oldest first.
func (w *Warehouse) Tenants(ctx context.Context) ([]Tenant, error) {
	rows, err := w.control.QueryContext(ctx, statements.Get("control/select_tenants"))
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	defer rows.Close()
	tenants := []Tenant{}
	for rows.Next() {
		var t Tenant
		if err := rows.Scan(&t.ID, &t.CreatedAt); err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		tenants = append(tenants, t)
	}
	return tenants, rows.Err()
}

// registerTenant makes the tenant known to the control database.
func (w *Warehouse) registerTenant(ctx context.Context, id uuid.UUID) error {
	if _, err := w.control.ExecContext(ctx, statements.Get("control/insert_tenant"), sql.Named("id", id.String())); err != nil {
		return fmt.Errorf("register tenant %s: %w", id, w.diagnose(err))
	}
	return nil
}

// maxAttached bounds the tenants that are attached at once. One that was written holds some memory until it is detached; one that
// was detached takes milliseconds to attach again.
const maxAttached = 256

// RowGroup is the number of rows that a tenant's file keeps together, half of DuckDB's own: a batch of that many new rows
// is written straight into the file rather than to its log first, and half the memory holds it.
const RowGroup = 61_440

// storageVersion is how files are written, older ones from their next checkpoint on. DuckDB's default, which versions of long ago can
// read, packs texts in a way that takes longer to write and to read.
const storageVersion = "'v1.5.0'"

// The bytes of a block of a tenant's file, which it keeps for good. A block holds columns of few rows only, so that of a small tenant's most is
// empty: smaller ones are read and kept in memory more quickly. Many rows are written more quickly in larger ones, which are DuckDB's own.
const (
	smallBlock = 64 << 10
	largeBlock = 256 << 10
	// manyRows is what makes a tenant none that begins small: so many in its first batch, or anybody who asks for its file before that.
	manyRows = 4 * 2048
)

// maxReaders bounds what is read at the same time. More than keeps the cores busy would only make all of them slower, and some
// much slower; whoever waits gets in in turn.
var maxReaders = 2 * runtime.GOMAXPROCS(0)

// tenantPool attaches tenants on demand and detaches the least recently used.
type tenantPool struct {
	w    *Warehouse
	mu   sync.Mutex
	open map[uuid.UUID]*tenantStore
	// maxAttached is the constant maxAttached, unless a test has lowered it; guarded by mu.
	maxAttached int
	walRows     atomic.Int64 // the sum of the stores'

	made map[uuid.UUID]*storeFacts // of tenants whose files this process has made, attached or not; guarded by mu

	making sync.Mutex
	empty  map[int][]byte // the files of a tenant without rows, by the size of their blocks, as far as they were made; guarded by making
}

// tenantStore is one tenant's attached file.
type tenantStore struct {
	id          uuid.UUID
	db          *sql.DB     // its connections stand in this tenant's database
	writing     sync.Mutex  // one merge, or one note of an edition, at a time
	facts       *storeFacts // guarded by writing
	walRows     int64       // rows that are written to its log and, otherwise, are in memory only; guarded by writing
	publishing  sync.Mutex  // one publisher at a time
	pageIndexes pageIndexCache
	version     atomic.Int64 // counts the commits: once before each and once after it, so that it is odd meanwhile

	attaching sync.Once
	failure   error // of attaching

	users    int // guarded by tenantPool.mu, as lastUsed
	lastUsed time.Time
}

// committing runs a commit, and has readers know of it.
func (s *tenantStore) committing(commit func() error) error {
	s.version.Add(1)
	defer s.version.Add(1)
	return commit()
}

// unchanged tells whether all that was read since version was, is of one state.
func (s *tenantStore) unchanged(version int64) bool {
	return version%2 == 0 && s.version.Load() == version
}

func (p *tenantPool) init(w *Warehouse) {
	p.maxAttached = maxAttached
	p.w, p.open, p.made, p.empty = w, map[uuid.UUID]*tenantStore{}, map[uuid.UUID]*storeFacts{}, map[int][]byte{}
}

// tenant attaches the tenant's file, making it if it is missing; release lets it go again. Other tenants' are attached meanwhile.
func (w *Warehouse) tenant(ctx context.Context, id uuid.UUID) (_ *tenantStore, release func(), err error) {
	return w.tenantFor(ctx, id, largeBlock)
}

// tenantFor is tenant with the size of blocks of a file that is made.
func (w *Warehouse) tenantFor(ctx context.Context, id uuid.UUID, block int) (_ *tenantStore, release func(), err error) {
	ctx = context.WithoutCancel(ctx) // what is attached by half, or not quite detached, would be in everybody's way
	store, err := w.tenants.take(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	store.attaching.Do(func() { store.failure = w.attachTenant(ctx, store, block) })
	if store.failure != nil {
		w.tenants.forget(store)
		return nil, nil, fmt.Errorf("open tenant %s: %w", id, w.diagnose(store.failure))
	}
	return store, func() { w.tenants.release(store) }, nil
}

// take is the tenant's store, perhaps one that is not attached yet, which is not detached before it was released.
func (p *tenantPool) take(ctx context.Context, id uuid.UUID) (*tenantStore, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[id] == nil {
		if err := p.makeRoom(ctx); err != nil {
			return nil, err
		}
		p.open[id] = &tenantStore{id: id}
	}
	p.open[id].users++
	return p.open[id], nil
}

func (p *tenantPool) release(store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	store.users--
	store.lastUsed = time.Now()
}

// forget leaves a store that could not be attached to those who wait for it; who comes later tries again.
func (p *tenantPool) forget(store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[store.id] == store {
		delete(p.open, store.id)
	}
}

func (w *Warehouse) attachTenant(ctx context.Context, store *tenantStore, block int) (err error) {
	path := w.tenantPath(store.id)
	exists, err := w.folder.exists(path)
	if err != nil {
		return err
	}
	if store.db, err = w.attach(ctx, store.id.String(), path, block); err == nil {
		store.facts = w.tenants.factsOf(store.id, !exists)
	}
	return err
}

// knownOf is what is known of a tenant: of one whose file this process has made, all.
func (p *tenantPool) factsOf(id uuid.UUID, made bool) *storeFacts {
	p.mu.Lock()
	defer p.mu.Unlock()
	if made {
		p.made[id] = &storeFacts{loaded: true, tables: map[string]tableFacts{}} // nothing, so far
	}
	if p.made[id] != nil {
		return p.made[id]
	}
	return &storeFacts{}
}

// reader waits for a reader's slot and returns the tenant's store. The queue has no bound of its own: callers are bounded before they come.
func (w *Warehouse) reader(ctx context.Context, id uuid.UUID) (_ *tenantStore, release func(), err error) {
	done, err := w.reading.Acquire(ctx, id, id)
	if err != nil {
		return nil, nil, err
	}
	store, letGo, err := w.tenant(ctx, id)
	if err != nil {
		done()
		return nil, nil, err
	}
	return store, func() {
		letGo()
		done()
	}, nil
}

// begin starts a transaction. It cannot be cancelled: cut off in the midst of it, BEGIN may have happened all the same, and the
// next to get the connection would be in a transaction that he knows nothing of.
func begin(ctx context.Context, db interface {
	BeginTx(ctx context.Context, options *sql.TxOptions) (*sql.Tx, error)
}) (*sql.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return db.BeginTx(context.WithoutCancel(ctx), nil)
}

func (w *Warehouse) tenantPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+".duckdb")
}

// makeRoom detaches the least recently used tenant that nobody uses, if there are too many.
func (p *tenantPool) makeRoom(ctx context.Context) error {
	if len(p.open) < p.maxAttached {
		return nil
	}
	var oldest *tenantStore
	for _, store := range p.open {
		if store.users == 0 && (oldest == nil || store.lastUsed.Before(oldest.lastUsed)) {
			oldest = store
		}
	}
	if oldest == nil {
		return nil // all in use: better too many than none
	}
	delete(p.open, oldest.id)
	p.walRows.Add(-oldest.walRows)
	return p.w.detach(ctx, oldest.id.String(), oldest.db)
}

func (p *tenantPool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for id, store := range p.open {
		errs = append(errs, p.w.detach(context.Background(), id.String(), store.db))
		delete(p.open, id)
	}
	return errors.Join(errs...)
}

// attach attaches the database file at path under the name catalog, made, of blocks of so many bytes, and migrated if need be, and returns
// connections that stand in it. A new file gets its name only when it is whole.
func (w *Warehouse) attach(ctx context.Context, catalog, path string, block int) (*sql.DB, error) {
	exists, err := w.folder.exists(path)
	if err != nil {
		return nil, err
	}
	if !exists {
		if err := w.folder.writeAtomic(path, func(temp string) error { return w.makeFile(ctx, catalog, temp, block) }); err != nil {
			return nil, err
		}
	}
	return w.attachFile(ctx, catalog, path, "")
}

// makeFile makes an empty database. That of a tenant is a copy of one that is made once, since making it takes far longer.
func (w *Warehouse) makeFile(ctx context.Context, catalog, path string, block int) error {
	if storeKind(catalog) != "tenant" {
		return w.makeEmpty(ctx, catalog, path, block)
	}
	w.tenants.making.Lock()
	defer w.tenants.making.Unlock()
	if w.tenants.empty[block] == nil {
		empty := filepath.Join(w.TempDir(), "empty.duckdb")
		defer func() { _ = w.folder.removeIfThere(empty) }() // tmp/ is emptied at the next start, too
		if err := w.makeEmpty(ctx, "empty", empty, block); err != nil {
			return err
		}
		var err error
		if w.tenants.empty[block], err = w.folder.readFile(empty); err != nil {
			return err
		}
	}
	return w.folder.writeFile(path, w.tenants.empty[block])
}

func (w *Warehouse) makeEmpty(ctx context.Context, catalog, path string, block int) error {
	db, err := w.attachFile(ctx, catalog, path, fmt.Sprintf(", BLOCK_SIZE %d", block))
	if err != nil {
		return err
	}
	return w.detach(ctx, catalog, db)
}

func (w *Warehouse) attachFile(ctx context.Context, catalog, path, option string) (*sql.DB, error) {
	if err := w.folder.forDuckDB(path); err != nil {
		return nil, err
	}
	attach := fmt.Sprintf("ATTACH %s AS %s (ROW_GROUP_SIZE %d, STORAGE_VERSION %s%s)", statements.Text(path), statements.Ident(catalog), RowGroup, storageVersion, option)
	if _, err := w.loader.ExecContext(ctx, attach); err != nil {
		return nil, err
	}
	db := sql.OpenDB(standingIn{w.instance, catalog})
	db.SetMaxIdleConns(maxReaders)
	if err := migrate(ctx, db, storeKind(catalog)); err != nil {
		return nil, errors.Join(err, w.detach(ctx, catalog, db))
	}
	return db, nil
}

// detach closes the connections and writes the file down.
func (w *Warehouse) detach(ctx context.Context, catalog string, db *sql.DB) error {
	return errors.Join(db.Close(), func() error {
		_, err := w.loader.ExecContext(ctx, "DETACH "+statements.Ident(catalog))
		return w.diagnose(err)
	}())
}

// checkAdopted refuses to adopt a data folder if its control database, which is opened to read only, has no schema of this program.
func (w *Warehouse) checkAdopted(ctx context.Context) error {
	if !w.folder.adopted {
		return nil
	}
	path := w.folder.join(controlFile)
	if err := w.folder.forDuckDB(path); err != nil {
		return err
	}
	if _, err := w.loader.ExecContext(ctx, "ATTACH "+statements.Text(path)+" AS adopted (READ_ONLY)"); err != nil {
		return fmt.Errorf("open control database: %w", w.diagnose(err))
	}
	var version int
	err := w.loader.QueryRowContext(ctx, "SELECT max(version) FROM adopted.schema_version").Scan(&version)
	if err != nil {
		err = fmt.Errorf("%w: data folder %s: %s was not written by voicory (%w); name another folder with --data", ErrInvalid, w.dir, controlFile, err)
	}
	_, detached := w.loader.ExecContext(ctx, "DETACH adopted")
	return errors.Join(err, detached)
}

func storeKind(catalog string) string {
	if catalog == "control" {
		return "control"
	}
	return "tenant"
}

// standingIn is a connector whose every connection has the database catalog as its only one to look names up in.
type standingIn struct {
	*duckdb.Connector
	catalog string
}

func (s standingIn) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "USE "+statements.Ident(s.catalog), nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// Close leaves the shared instance open: sql.DB.Close would close it with the first tenant.
func (s standingIn) Close() error { return nil }

// migrate brings a database up to the current version, one transaction per script.
func migrate(ctx context.Context, db *sql.DB, kind string) error {
	version, err := schemaVersion(ctx, db)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	scripts := statements.Migrations(kind)
	if version > len(scripts) {
		return fmt.Errorf("%w: the %s database is of version %d and this voicory knows %d; use the newer one", ErrInvalid, kind, version, len(scripts))
	}
	for i := version; i < len(scripts); i++ {
		tx, err := begin(ctx, db)
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		if _, err = tx.ExecContext(ctx, scripts[i]); err == nil {
			_, err = tx.ExecContext(ctx, "INSERT INTO schema_version VALUES ($version, now())", sql.Named("version", i+1))
		}
		if err != nil {
			return errors.Join(fmt.Errorf("migrate %s to version %d: %w", kind, i+1, err), tx.Rollback())
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("migrate %s to version %d: %w", kind, i+1, err)
		}
	}
	return nil
}

// schemaVersion is the version of the database, 0 for an empty one.
func schemaVersion(ctx context.Context, db *sql.DB) (version int, err error) {
	read := func() error {
		return db.QueryRowContext(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&version)
	}
	if err = read(); isUnknown(err) { // asked first, since nearly every file has it
		if _, err = db.ExecContext(ctx, statements.Get("migrations/version")); err == nil {
			err = read()
		}
	}
	return version, err
}

// isUnknown tells that a statement names what is not there.
func isUnknown(err error) bool {
	var failure *duckdb.Error
	return errors.As(err, &failure) && failure.Type == duckdb.ErrorTypeCatalog
}
