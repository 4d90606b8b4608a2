package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// attach attaches the database file at path under the name catalog. It creates a missing file with blocks of the given
// size in bytes, under a temporary name until the file is complete, and migrates an older one. It returns connections
// whose default database is this one.
func (w *Warehouse) attach(ctx context.Context, catalog, path string, block int) (*sql.DB, error) {
	exists, err := w.folder.exists(path)
	if err != nil {
		return nil, err
	}
	if !exists {
		err := w.folder.writeAtomic(path, func(temp string) error { return w.makeFile(ctx, catalog, temp, block) })
		if err != nil {
			return nil, err
		}
	}
	return w.attachFile(ctx, catalog, path, existingFile, nil)
}

// emptyStores has the content of a new tenant's file by block size. All such files of this process are copies of it,
// because to copy a file is much faster than to create its schema.
var emptyStores = struct {
	sync.Mutex
	content map[int][]byte // made on demand; guarded by Mutex
}{content: map[int][]byte{}}

// makeFile creates a database without rows.
func (w *Warehouse) makeFile(ctx context.Context, catalog, path string, block int) error {
	if storeKind(catalog) != "tenant" {
		return w.makeEmpty(ctx, catalog, path, block)
	}
	emptyStores.Lock()
	defer emptyStores.Unlock()
	if emptyStores.content[block] == nil {
		empty := filepath.Join(w.TempDir(), "empty.duckdb")
		defer func() { _ = w.folder.removeIfThere(empty) }() // tmp/ is also emptied at the next start
		if err := w.makeEmpty(ctx, "empty", empty, block); err != nil {
			return err
		}
		var err error
		if emptyStores.content[block], err = w.folder.readFile(empty); err != nil {
			return err
		}
	}
	return w.folder.writeFile(path, emptyStores.content[block])
}

// makeEmpty creates a database with the current schema and no rows.
func (w *Warehouse) makeEmpty(ctx context.Context, catalog, path string, block int) error {
	db, err := w.attachFile(ctx, catalog, path, block, nil)
	if err != nil {
		return err
	}
	return w.detach(ctx, catalog, path, db)
}

// attachFile attaches a database file, and creates it with the block size unless block is existingFile. An existing
// file may still be attached, because an earlier DETACH failed; it is used as it is. If check is not nil, it decides
// whether the database is used, before it is migrated. A database is copied before its migration, see
// keepBeforeUpgrade.
func (w *Warehouse) attachFile(
	ctx context.Context, catalog, path string, block int, check func(context.Context, *sql.DB) error,
) (*sql.DB, error) {
	db, err := w.attachOnce(ctx, catalog, path, block, check, false)
	if !errors.Is(err, errOutdated) {
		return db, err
	}
	if err := w.keepBeforeUpgrade(storeKind(catalog), path); err != nil {
		return nil, fmt.Errorf("copy the database before its upgrade: %w", err)
	}
	return w.attachOnce(ctx, catalog, path, block, check, true)
}

// attachOnce makes one attempt of attachFile. kept reports that the database was copied. If the database needs a
// migration and kept is false, attachOnce returns errOutdated.
func (w *Warehouse) attachOnce(
	ctx context.Context, catalog, path string, block int, check func(context.Context, *sql.DB) error, kept bool,
) (*sql.DB, error) {
	if err := w.folder.forDuckDB(path); err != nil {
		return nil, err
	}
	if block == existingFile {
		if err := w.makeDurable(ctx, catalog, path); err != nil {
			return nil, err
		}
	}
	verb, option := "ATTACH IF NOT EXISTS", ""
	if block != existingFile {
		verb, option = "ATTACH", fmt.Sprintf(", BLOCK_SIZE %d", block)
	}
	attach := fmt.Sprintf("%s %s AS %s (ROW_GROUP_SIZE %d, STORAGE_VERSION %s%s)",
		verb, statements.Text(path), statements.Ident(catalog), RowGroup, storageVersion, option)
	if err := execAttach(ctx, w.loader, attach); err != nil {
		return nil, err
	}
	db := w.instance.DB("USE " + statements.Ident(catalog)) // names are looked up in this database only
	db.SetMaxIdleConns(maxReaders)
	var err error
	if check != nil {
		err = check(ctx, db)
	}
	if err == nil {
		err = migrate(ctx, db, storeKind(catalog), kept)
	}
	if err != nil {
		return nil, errors.Join(err, w.detach(ctx, catalog, path, db))
	}
	return db, nil
}

// Times for which execAttach waits for a detached database.
const (
	releasePause = 5 * time.Millisecond // between two tries
	releaseWait  = 10 * time.Second
)

// An execer executes statements: a pool of connections, or a connection.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// execAttach executes an ATTACH statement. DuckDB releases the file of a detached database when its last transaction
// and its last task have ended, which can be after DETACH has returned. Until then execAttach tries again.
func execAttach(ctx context.Context, db execer, statement string) error {
	for deadline := time.Now().Add(releaseWait); ; {
		_, err := db.ExecContext(ctx, statement)
		if !duckdb.IsFileInUse(err) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(releasePause):
		}
	}
}

// makeDurable writes a database again before it is attached, see writeAgain, unless this process knows that the disk
// has it. An earlier process may have been killed after a sync had failed. This process then reads bytes from the
// kernel's cache that the disk does not have. A power cut would lose these bytes, and with them the commits that
// follow. A full disk is not an error, because the rows can be read: the next attachment tries again.
func (w *Warehouse) makeDurable(ctx context.Context, catalog, path string) error {
	if tenant, notTenant := uuid.Parse(catalog); notTenant == nil {
		if info, err := w.folder.root.Lstat(storeFile(tenant)); err == nil && w.commits.isDetached(tenant, info) {
			w.healing.noteDurable(catalog)
		}
	}
	if w.healing.isDurable(catalog) {
		return nil
	}
	if attached, err := w.isAttached(ctx, catalog); attached || err != nil {
		return err
	}
	switch err := w.writeAgain(path); {
	case err == nil:
		w.healing.noteDurable(catalog)
	case !errors.Is(err, ErrNoSpace):
		return err
	}
	return nil
}

// detach closes the connections, unless db is nil, checkpoints the database at path, and detaches it, see
// detachWritten. The path is empty for a database that is attached for reading.
func (w *Warehouse) detach(ctx context.Context, catalog, path string, db *sql.DB) error {
	var closed error
	if db != nil {
		closed = db.Close()
	}
	detached, err := detachWritten(ctx, w.loader, catalog, path)
	if detached {
		w.storeFiles.close(catalog)
		if id, notTenant := uuid.Parse(catalog); notTenant == nil && err == nil {
			if info, err := w.folder.root.Lstat(storeFile(id)); err == nil && !w.healing.heals(catalog) {
				w.commits.detached(id, info)
			}
		}
	}
	return errors.Join(closed, err)
}

// detachWritten checkpoints the database at path and detaches it. It reports whether the database is detached, which it
// also is if its checkpoint has failed. The database has no users. The path is empty for a database that is attached
// for reading.
//
// DETACH alone is not enough. DuckDB makes its checkpoint when it releases the database, and a query that lists
// databases can hold all of them until after DETACH has returned. The file would then change while others read it.
func detachWritten(ctx context.Context, db execer, catalog, path string) (detached bool, err error) {
	var written error
	for deadline := time.Now().Add(releaseWait); path != "" && written == nil; {
		log, err := os.Stat(path + walSuffix)
		if errors.Is(err, fs.ErrNotExist) || err == nil && log.Size() == 0 {
			break
		}
		if err != nil {
			return false, err
		}
		if time.Now().After(deadline) {
			return false, fmt.Errorf("%s still has a log after checkpoints for %s", catalog, releaseWait)
		}
		if written = checkpointDatabase(ctx, db, catalog); written == nil {
			select {
			case <-ctx.Done():
				return false, context.Cause(ctx)
			case <-time.After(releasePause):
			}
		}
	}
	_, err = db.ExecContext(ctx, "DETACH DATABASE IF EXISTS "+statements.Ident(catalog))
	return err == nil, errors.Join(written, err)
}

// checkAdopted returns ErrInvalid if the data folder is to be adopted and its control database has no schema of this
// program. It opens the control database read-only.
func (w *Warehouse) checkAdopted(ctx context.Context) error {
	if !w.folder.adopted {
		return nil
	}
	path := w.folder.join(controlFile)
	if err := w.mendTornBlocks(path); err != nil {
		return err
	}
	db, detach, err := w.attachReadOnly(ctx, "adopted", path)
	if err != nil {
		return fmt.Errorf("open control database: %w", err)
	}
	var version int
	if err = db.QueryRowContext(ctx, "SELECT max(version) FROM schema_version").Scan(&version); err != nil {
		err = fmt.Errorf("%w: data folder %s: %s was not written by voicory (%w); name another folder with --data",
			ErrInvalid, w.dir, controlFile, err)
	}
	return errors.Join(err, detach())
}
