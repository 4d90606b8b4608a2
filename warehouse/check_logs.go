package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// checkWAL checks the log of a database that no process has open. It reports whether the database can be opened with
// it.
func (v *verifier) checkWAL(path string, tenant uuid.UUID, kind FindingKind) bool {
	wal, err := v.w.readWAL(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true
	case errors.Is(err, ErrInvalid):
		return false // a link is a finding already
	case err != nil:
		v.report(kind, tenant, path+".wal", "it cannot be read: %v", err)
	case wal.Fault != "":
		v.report(kind, tenant, path+".wal", "%s; %d transactions before it are sound, the rest of %d bytes is lost",
			wal.Fault, wal.Commits, wal.Bytes-wal.Good)
	default:
		return true
	}
	return false
}

// checkLog returns an ErrDamaged if a log of the database at path is damaged. DuckDB must not see such a log: it may
// skip the transactions behind the damage, or fail in a way that invalidates the databases of all tenants. checkLog
// also reports whether the database has a log. The database is not attached.
func (w *Warehouse) checkLog(path string) (hasLog bool, err error) {
	for _, suffix := range walSuffixes {
		wal, err := w.readLog(path + suffix)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err == nil && wal.Fault != "":
			err = fmt.Errorf("%w: its log %s: %s", ErrDamaged, filepath.Base(path+suffix), wal.Fault)
		}
		if err != nil {
			return true, err
		}
		hasLog = true
	}
	return hasLog, nil
}

// mendTornBlocks mends the blocks of a database that an interrupted checkpoint has left half-written, see
// [duckdb.TornBlocks]. It precedes each attachment of a database that may have a log, except those for a verification
// of a stopped folder, which changes nothing. The database is not attached.
//
// If the disk is full and no block is half-written, it returns nil: the rows can be read.
func (w *Warehouse) mendTornBlocks(path string) (err error) {
	log, err := w.readWAL(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && log.Checkpoint == nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = w.folder.noteWrite(path, err) }()
	name, err := w.folder.resolve(path)
	if err != nil {
		return err
	}
	file, err := w.folder.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	torn, err := duckdb.MendTornBlocks(file, log)
	if err == nil {
		err = file.Sync()
	}
	switch {
	case torn > 0 && err == nil:
		w.folder.log.Warn("mended blocks that an interrupted checkpoint had left half-written; no rows are lost",
			"file", name, "blocks", torn)
	case torn == 0 && errors.Is(err, syscall.ENOSPC):
		return nil
	}
	return err
}

// tryLog returns an ErrDamaged if a log of the database at path is damaged, or if its replay by an instance of its own
// fails. It precedes each attachment of a database that may have a log to the instance of all tenants: if the log
// belongs to another database, its replay can invalidate the whole instance. The database is not attached.
func (w *Warehouse) tryLog(ctx context.Context, path string) error {
	hasLog, err := w.checkLog(path)
	if err != nil || !hasLog {
		return err
	}
	if err := w.mendTornBlocks(path); err != nil {
		return err
	}
	_, detach, err := w.attachAlone(ctx, "tried", path)
	if err != nil {
		return err
	}
	return detach()
}

// attachForReading returns the statement that attaches a database for reading.
func attachForReading(catalog, path string) string {
	return fmt.Sprintf("ATTACH %s AS %s (READ_ONLY)", statements.Text(path), statements.Ident(catalog))
}

// attachAlone attaches a database for reading to an instance of its own, which the returned function closes. The
// instance has the settings of the warehouse's instance. It returns an ErrDamaged if the log cannot be replayed.
func (w *Warehouse) attachAlone(
	ctx context.Context, catalog, path string,
) (db *sql.DB, detach func() error, err error) {
	var memory, temp string
	err = w.loader.QueryRowContext(ctx,
		"SELECT current_setting('memory_limit'), current_setting('temp_directory')").Scan(&memory, &temp)
	if err != nil {
		return nil, nil, err
	}
	instance, err := duckdb.Open(ctx, w.dir)
	if err != nil {
		return nil, nil, err
	}
	db = instance.DB("USE " + statements.Ident(catalog))
	detach = func() error { return errors.Join(db.Close(), instance.Close()) }
	loader := instance.DB("")
	if err = configure(ctx, instance, loader, memory, temp); err == nil {
		_, err = loader.ExecContext(ctx, attachForReading(catalog, path))
	}
	if duckdb.IsInternal(err) {
		err = fmt.Errorf("%w: its WAL cannot be replayed: %s", ErrDamaged, firstLine(err))
	}
	if err = errors.Join(err, loader.Close()); err != nil {
		return nil, nil, errors.Join(err, detach())
	}
	return db, detach, nil
}

// readWAL reads the WAL of the database at path.
func (w *Warehouse) readWAL(path string) (duckdb.WAL, error) { return w.readLog(path + walSuffix) }

// readLog reads one of the logs of a database.
func (w *Warehouse) readLog(path string) (wal duckdb.WAL, err error) {
	file, err := w.folder.open(path)
	if err != nil {
		return wal, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return wal, err
	}
	return duckdb.ReadWAL(file, info.Size())
}
