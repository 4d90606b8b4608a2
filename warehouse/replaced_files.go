package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// removeAllReplaced removes the replaced files of a tenant at once, and their entries in the manifest, so that signed
// URLs of them are not found.
func (w *Warehouse) removeAllReplaced(ctx context.Context, tenant uuid.UUID) error {
	store, release, err := w.tenant(ctx, tenant)
	if err != nil {
		return err
	}
	defer release()
	store.publishing.Lock()
	defer store.publishing.Unlock()
	if err := store.forgetReplaced(ctx); err != nil {
		return err
	}
	w.publicationChanges.note(tenant)
	store.naming.Lock()
	defer store.naming.Unlock()
	return w.folder.removeFiles(w.replacedPath(tenant))
}

// forgetReplaced deletes the manifest's entries of all replaced files. The snapshots of the tables that contained them
// cannot be derived any more, so the history of snapshots begins again with the current files.
func (s *tenantStore) forgetReplaced(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.inTransaction(ctx, s.db, func(tx *sql.Tx) error { return s.forgetSnapshots(ctx, tx) })
}

// forgetSnapshots makes the current files those of one new publication, and deletes the entries of replaced files.
func (s *tenantStore) forgetSnapshots(ctx context.Context, tx *sql.Tx) error {
	at, err := s.publicationTime(ctx, tx)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, statements.Get("lake/forget_snapshots"), sql.Named("at", at)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statements.Get("lake/prune_replaced"), sql.Named("before", time.Now().AddDate(1, 0, 0)))
	return err
}

// removeFiles removes the files of a folder, which may be missing.
func (f *dataFolder) removeFiles(dir string) error {
	entries, err := f.readDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := f.removeIfThere(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return f.sync(dir)
}

// dropExports removes the cached DuckDB exports of a tenant. It waits for a build that is under way.
func (w *Warehouse) dropExports(ctx context.Context, tenant uuid.UUID) error {
	d := &w.exportCache
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.builds[tenant] != nil {
		build := d.builds[tenant]
		d.mu.Unlock()
		select {
		case <-build.done:
		case <-ctx.Done():
		}
		d.mu.Lock()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	var errs []error
	for _, file := range d.files[tenant] {
		errs = append(errs, w.folder.removeIfThere(file.path))
	}
	delete(d.files, tenant)
	return errors.Join(errs...)
}
