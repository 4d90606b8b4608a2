package warehouse

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/google/uuid"

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
// skip the transactions behind the damage, or fail in a way that invalidates the databases of all tenants. The database
// is not attached.
func (w *Warehouse) checkLog(path string) error {
	for _, suffix := range walSuffixes {
		wal, err := w.readLog(path + suffix)
		if err == nil && wal.Fault != "" {
			err = fmt.Errorf("%w: its log %s: %s", ErrDamaged, filepath.Base(path+suffix), wal.Fault)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
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
