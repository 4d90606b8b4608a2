package warehouse

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/filelock"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/journal"
)

// openOffline opens a data folder whatever its state, and changes nothing in it. The warehouse has neither a control
// database nor a pool of tenants. The caller calls closeOffline.
func openOffline(ctx context.Context, opts Options) (_ *Warehouse, err error) {
	path, err := filepath.Abs(opts.Dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data folder %s: %w", opts.Dir, errNoFolder)
	}
	if err != nil {
		return nil, err
	}
	f := &dataFolder{path: path, mark: folderMark{Format: folderFormat, LakeMode: LakePrivate},
		log: cmp.Or(opts.Log, slog.New(slog.DiscardHandler))}
	w := &Warehouse{dir: path, folder: f, commits: readCommits(nil),
		conditions: newConditions(slog.New(slog.DiscardHandler))} // a verification reports findings instead
	defer func() {
		if err != nil {
			err = errors.Join(f.refusal(err), w.closeOffline())
		}
	}()
	if f.root, err = os.OpenRoot(path); err != nil {
		return nil, err
	}
	if err := f.isDataFolder(); err != nil {
		return nil, err
	}
	if err := f.lockOffline(); err != nil {
		return nil, err
	}
	if mark, err := f.readMark(); err == nil {
		f.mark = mark
	} else {
		f.mark.LakeMode = f.presentLakeMode()
	}
	w.readHistories()
	if w.instance, err = duckdb.Open(ctx, path); err != nil {
		return nil, err
	}
	w.loader = w.instance.DB("")
	// The instance does not spill, because a spill would change the folder.
	return w, configure(ctx, w.instance, w.loader, cmp.Or(opts.MemoryLimit, defaultMemory), "")
}

// closeOffline closes a warehouse of openOffline.
func (w *Warehouse) closeOffline() error {
	w.healing.close()
	var errs []error
	if w.loader != nil {
		errs = append(errs, w.loader.Close())
	}
	if w.instance != nil {
		errs = append(errs, w.instance.Close())
	}
	return errors.Join(append(errs, w.folder.close())...)
}

// readHistories reads the registered histories and the last commits of the stores as far as they can be read. Damage of
// their files is a finding of its own.
func (w *Warehouse) readHistories() {
	w.histories.byTenant, w.histories.accepted = map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]bool{}
	if text, err := w.folder.readFile(w.folder.join(commitsFile)); err == nil {
		w.commits = readCommits(text)
	}
	text, err := w.folder.readFile(w.folder.join(journalFile))
	if err != nil {
		return
	}
	entries, _, _ := journal.Read(bytes.NewReader(text)) // a reader of bytes does not fail
	for _, entry := range entries {
		var h storeIdentity
		var deleted deletion
		switch {
		case entry.Kind == journal.History && entry.Decode(&h) == nil:
			w.histories.byTenant[h.Tenant] = h.History
		case entry.Kind == journal.TenantDeleted && entry.Decode(&deleted) == nil:
			delete(w.histories.byTenant, deleted.Tenant)
		}
	}
}

// isDataFolder returns an error unless the folder has a mark, even a damaged one. A folder with the lock file and the
// folder of the stores counts as a data folder that has lost its mark. In any other folder, every file would be
// reported as stray.
func (f *dataFolder) isDataFolder() error {
	has := func(name string) bool {
		_, err := f.root.Lstat(name)
		return err == nil
	}
	if has(markFile) || has(lockFile) && has(warehouseDir) {
		return nil
	}
	if entries, err := f.readDir(f.path); err != nil || len(entries) == 0 {
		return errors.Join(err, errNoFolder)
	}
	return fmt.Errorf("%w: it is not a data folder of voicory; name another with --data", ErrInvalid)
}

// lockOffline locks the folder without writing to the lock file. A folder without a lock file is not open: Open creates
// the file. It returns ErrInUse if a process has the folder open.
func (f *dataFolder) lockOffline() (err error) {
	if info, err := f.root.Lstat(lockFile); errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil // a finding, if it is a link
	}
	if f.lock, err = f.root.Open(lockFile); err != nil {
		return err
	}
	if err := filelock.TryLock(f.lock); err != nil {
		return fmt.Errorf("%w: another process has it open", ErrInUse)
	}
	return nil
}

// attachReadOnly attaches a database for reading, and returns connections with this default database. The database must
// not be attached already. The log of the database is replayed in memory, by an instance of its own; no file changes.
func (w *Warehouse) attachReadOnly(ctx context.Context, catalog, path string) (*sql.DB, func() error, error) {
	if err := w.folder.forDuckDB(path); err != nil {
		return nil, nil, err
	}
	hasLog, err := w.checkLog(path)
	if err != nil {
		return nil, nil, err
	}
	if hasLog {
		return w.attachAlone(ctx, catalog, path)
	}
	if err := execAttach(ctx, w.loader, attachForReading(catalog, path)); err != nil {
		return nil, nil, err
	}
	db := w.instance.DB("USE " + statements.Ident(catalog))
	return db, func() error { return w.detach(context.WithoutCancel(ctx), catalog, "", db) }, nil
}
