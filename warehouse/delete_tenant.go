package warehouse

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/journal"
)

// deletion is the data of an entry of the kind [journal.TenantDeleted].
type deletion struct {
	Tenant uuid.UUID `json:"tenant_id"`
}

// loadDeleted reads the deleted tenants from the journal.
func (w *Warehouse) loadDeleted() error {
	for _, entry := range w.journal.Entries(journal.TenantDeleted) {
		var d deletion
		if err := entry.Decode(&d); err != nil {
			return err
		}
		w.MarkDeleted(d.Tenant)
	}
	return nil
}

const deletingSuffix = ".deleting"

// deletingPath returns the path of the mark of a deletion that is under way.
func (w *Warehouse) deletingPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+deletingSuffix)
}

// DeleteTenant deletes a tenant with all its data. Its keys are unknown at once, no source or request makes it exist
// again, and its id cannot be used again. It returns ErrNotFound for an unknown tenant.
//
// The order makes a crash harmless: the mark and the entry of the journal come first, and the next start completes a
// deletion that has an entry.
func (w *Warehouse) DeleteTenant(ctx context.Context, id uuid.UUID) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("delete tenant %s: %w", id, err)
		}
	}()
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	known, err := w.hasTraces(ctx, id)
	if err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("%w: no such tenant; `voicory tenants list` shows them", ErrNotFound)
	}
	entry, err := w.journal.NewEntry(journal.TenantDeleted, deletion{id})
	if err != nil {
		return err
	}
	// Only the journal is required. The mark makes the next start look for the quarantine again.
	marked := w.folder.createMark(w.deletingPath(id))
	if w.CheckDeleted(id) == nil {
		if err := w.journal.Append(entry); err != nil {
			return err
		}
	}
	return errors.Join(w.removeTenant(ctx, id), marked)
}

// hasTraces reports whether anything of a tenant is in the data folder, except refused rows.
func (w *Warehouse) hasTraces(ctx context.Context, id uuid.UUID) (bool, error) {
	if has, err := w.HasTenant(ctx, id); err != nil || has {
		return has, err
	}
	for _, path := range append(w.tenantFiles(id), w.tenantDirs(id)...) {
		if exists, err := w.folder.exists(path); err != nil || exists {
			return exists, err
		}
	}
	return false, nil
}

// tenantFiles returns the paths of the files beside and including the store of a tenant. The mark of its deletion comes
// last.
func (w *Warehouse) tenantFiles(id uuid.UUID) (paths []string) {
	for _, suffix := range append([]string{""}, walSuffixes...) {
		paths = append(paths, w.tenantPath(id)+suffix)
	}
	return append(paths, w.unpublishedPath(id), w.erasingPath(id), w.deletingPath(id))
}

// tenantDirs returns the folders of published files of a tenant.
func (w *Warehouse) tenantDirs(id uuid.UUID) []string {
	return append(w.PublishedDirs(id), w.lakePath(id))
}

// finishDeletions removes the remaining files and entries of deleted tenants. Some remain after a crash or a failure,
// and a restore of a backup that is older than the deletion brings some back. A failure is logged: it must not keep the
// other tenants from being served. The caller holds erasures.running, or is the only one that knows the warehouse.
func (w *Warehouse) finishDeletions(ctx context.Context) {
	for _, id := range w.DeletedTenants() {
		left, err := w.hasTraces(ctx, id)
		if err == nil && left {
			w.folder.log.Warn("remove the rest of a deleted tenant", "tenant", id)
			err = w.removeTenant(ctx, id)
		}
		if err != nil {
			w.folder.log.Error("the rest of a deleted tenant cannot be removed yet", "tenant", id, "error", err)
		}
	}
}

// removeTenant removes everything of a deleted tenant. The keys end first, in memory: this ends their requests, so that
// the store is soon without users. The files are removed next, which makes room on a full disk for the rest.
func (w *Warehouse) removeTenant(ctx context.Context, id uuid.UUID) (err error) {
	w.EndTenant(id)
	w.histories.mu.Lock()
	delete(w.histories.byTenant, id)
	w.histories.mu.Unlock()
	files := w.tenantFiles(id)
	removed := false
	defer func() {
		if err != nil && removed {
			err = fmt.Errorf("its keys are refused and its files are removed; the server or the next start removes the rest "+
				"from other files: %w", err)
		}
	}()
	err = w.withDetached(ctx, id, func() error {
		var errs []error
		for _, path := range files[:len(files)-1] {
			errs = append(errs, w.folder.removeIfThere(path))
		}
		for _, dir := range w.tenantDirs(id) {
			errs = append(errs, w.folder.removeAll(dir))
		}
		return errors.Join(append(errs, w.folder.sync(w.folder.join(warehouseDir)))...)
	})
	if err != nil {
		return err
	}
	removed = true
	if err := w.dropExports(ctx, id); err != nil {
		return err
	}
	_, err = w.removeRefused(ctx, func(line quarantineLine) bool {
		named, err := line.tenantNamed()
		return err == nil && named == id
	})
	if err != nil {
		return err
	}
	if err := w.DB.DeleteTenant(ctx, id); err != nil {
		return err
	}
	names := func(text string) bool { return strings.Contains(text, id.String()) }
	if err := errors.Join(w.rewriteControl(ctx), w.removeKept(ctx, id, names)); err != nil {
		return err
	}
	w.conditions.clearTenant(id)
	w.publicationChanges.note(id)
	return w.folder.removeDurable(w.deletingPath(id))
}

// removeAll removes a folder with everything in it, if it exists, and syncs the folder above it.
func (f *dataFolder) removeAll(path string) error {
	name, err := f.resolve(path)
	if err != nil {
		return err
	}
	if exists, err := f.exists(path); err != nil || !exists {
		return err
	}
	return errors.Join(f.root.RemoveAll(name), f.sync(filepath.Dir(path)))
}

// refuseDeleted removes the staged rows of deleted tenants. They count as refused, with the tenant as the reason, and
// are not written to the quarantine.
func (s *Staged) refuseDeleted(ctx context.Context) error {
	var ids []string
	for i := range s.tenants {
		t := &s.tenants[i]
		if t.id.Valid && s.w.CheckDeleted(t.id.UUID) != nil {
			ids = append(ids, statements.Text(t.id.UUID.String())+"::UUID")
			t.refused, t.deleted = t.rows, true
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err := s.slot.conn.ExecContext(ctx, statements.Fill("erasure/delete_tenant", "tenants", strings.Join(ids, ", ")))
	return err
}

// deletedRefusals returns a refusal for each deleted tenant of the batch.
func (s *Staged) deletedRefusals() (refusals []Refusal) {
	for _, t := range s.tenants {
		if !t.deleted {
			continue
		}
		refusal := Refusal{File: s.batch.Origin, Dataset: s.batch.Dataset.Name,
			Reason: fmt.Sprintf("%v: %d rows", s.w.CheckDeleted(t.id.UUID), t.rows)}
		s.countReasons(refusal, t.rows)
		refusals = append(refusals, refusal)
	}
	return refusals
}
