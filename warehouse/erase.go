package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/erasure"
	"github.com/voicory/warehouse/warehouse/schema"
)

// An Erasure reports the rows and entries that an erasure has removed, or would remove.
type Erasure struct {
	Tenant   uuid.UUID        `json:"tenant_id"`
	DryRun   bool             `json:"dry_run"`
	Rows     map[string]int64 `json:"rows"`     // rows by dataset
	Refused  int64            `json:"refused"`  // entries of the quarantine
	Requests int64            `json:"requests"` // entries of the request log whose path or query was changed
	// Remaining are the files that contain the number, the id or another text of the customer after the erasure.
	Remaining []Remainder `json:"remaining"`
}

// EraseOptions are options of an erasure.
type EraseOptions struct {
	DryRun   bool // only count the rows
	OwnFiles bool // search the files of the tenant and of all tenants together, but not those of other tenants
}

// Erase erases a customer of a tenant, named by the id or by a phone number. It removes the rows of the number, of its
// customers and of their ids in all datasets, if they were created before now. It also removes all data that was
// derived from these rows. It ends with a search of the bytes of all files for the number, the ids, and the names and
// e-mail addresses. It returns ErrNotFound if the tenant has no such customer.
//
// The order makes a crash harmless: first a mark that the erasure is under way and the hashes in the journal, then the
// rows, then the copies of them. The next start completes an erasure that has a mark.
func (w *Warehouse) Erase(ctx context.Context, tenant uuid.UUID, customer string, options EraseOptions) (
	report Erasure, err error,
) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("erase a customer of tenant %s: %w", tenant, err)
		}
	}()
	if exists, err := w.storeExists(tenant); err != nil || !exists {
		return report, errors.Join(err, fmt.Errorf("%w: the tenant has no rows", ErrNotFound))
	}
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	if err := w.finishErasure(ctx, tenant); err != nil {
		return report, err
	}
	who, err := w.findPerson(ctx, tenant, customer)
	if err != nil {
		return report, err
	}
	report = Erasure{Tenant: tenant, DryRun: options.DryRun, Rows: map[string]int64{}, Remaining: []Remainder{}}
	until := time.Now().UTC().Truncate(time.Microsecond)
	if options.DryRun {
		return report, w.countErased(ctx, &report, until, who.keys)
	}
	if err := w.folder.createMark(w.erasingPath(tenant)); err != nil {
		return report, err
	}
	if err := w.recordErased(ctx, tenant, until, who.keys); err != nil {
		return report, err
	}
	if err := w.applyErasures(ctx, &report, who.texts); err != nil {
		return report, fmt.Errorf("it is recorded, so no source brings the rows back, and it is tried again every minute "+
			"and at the next start: %w", err)
	}
	search := uuid.Nil
	if options.OwnFiles {
		search = tenant
	}
	report.Remaining, err = w.FindMarkers(ctx, search, who.markers...)
	return report, err
}

// countErased counts the rows that an erasure of the keys would delete.
func (w *Warehouse) countErased(ctx context.Context, report *Erasure, until time.Time, keys []erasure.Key) error {
	store, release, err := w.tenant(ctx, report.Tenant)
	if err != nil {
		return err
	}
	defer release()
	const salt = "dry run"
	texts := make([]string, len(keys))
	for i, key := range keys {
		texts[i] = fmt.Sprintf("(%s::UUID, '%s', '%s'::UUID, '%s'::TIMESTAMPTZ)", statements.Text(report.Tenant.String()),
			salt, erasure.Hash(salt, key), until.Format(time.RFC3339Nano))
	}
	list := "(FROM (VALUES " + strings.Join(texts, ", ") + ") AS erased(tenant_id, salt, hash, until))"
	for _, dataset := range schema.Datasets {
		covered := coveredRows(list, statements.Ident(dataset.Name), "true", report.Tenant, dataset)
		var n int64
		if err := store.db.QueryRowContext(ctx, "SELECT count(*) FROM ("+covered+")").Scan(&n); err != nil {
			return err
		}
		report.Rows[dataset.Name] = n
	}
	return nil
}

// ApplyErasures erases the identities again that the journal lists as erased in a tenant. It is called after a restore,
// because a backup may hold erased rows.
func (w *Warehouse) ApplyErasures(ctx context.Context, tenant uuid.UUID) error {
	w.erasures.running.Lock()
	defer w.erasures.running.Unlock()
	if err := w.loadErasures(ctx); err != nil || !w.erasures.lists.Has(tenant) {
		return err
	}
	report := Erasure{Tenant: tenant, Rows: map[string]int64{}}
	err := w.folder.createMark(w.erasingPath(tenant))
	if err == nil {
		err = w.applyErasures(ctx, &report, nil)
	}
	if err != nil {
		err = fmt.Errorf("apply the erasures of tenant %s: %w", tenant, err)
	}
	return err
}

// FinishErasures completes the erasures, and the deletions of tenants, that a crash or a failure has interrupted. A
// failure of one is logged, and the next call tries again.
func (w *Warehouse) FinishErasures(ctx context.Context) error {
	if w.erasures.running.TryLock() {
		w.finishDeletions(ctx)
		w.erasures.running.Unlock()
	}
	entries, err := w.storeDir()
	if errors.Is(err, ErrUnavailable) {
		return nil // a condition of the data folder
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name, marked := strings.CutSuffix(entry.Name(), erasingSuffix)
		tenant, err := uuid.Parse(name)
		if !marked || err != nil || !w.erasures.running.TryLock() {
			continue // the erasure that runs removes its mark itself
		}
		err = w.finishErasure(ctx, tenant)
		w.erasures.running.Unlock()
		if err != nil {
			w.folder.log.Error("an interrupted erasure cannot be completed yet", "tenant", tenant, "error", err)
		}
	}
	return ctx.Err()
}

// finishErasure completes an erasure of the tenant that was interrupted. The caller holds erasures.running.
func (w *Warehouse) finishErasure(ctx context.Context, tenant uuid.UUID) error {
	if exists, err := w.folder.exists(w.erasingPath(tenant)); err != nil || !exists {
		return err
	}
	w.folder.log.Warn("an erasure was interrupted; it is completed now", "tenant", tenant)
	return w.applyErasures(ctx, &Erasure{Tenant: tenant, Rows: map[string]int64{}}, nil)
}

const erasingSuffix = ".erasing"

// erasingPath returns the path of the mark of an erasure that is under way.
func (w *Warehouse) erasingPath(id uuid.UUID) string {
	return filepath.Join(w.dir, warehouseDir, id.String()+erasingSuffix)
}

// createMark creates an empty file, unless it exists, and syncs its folder.
func (f *dataFolder) createMark(path string) error {
	if err := f.writeFile(path, nil); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return f.sync(filepath.Dir(path))
}

// applyErasures removes everything of a tenant that its list covers, and the mark at the end. texts are known only to
// the erasure that recorded the identities. The caller holds erasures.running.
func (w *Warehouse) applyErasures(ctx context.Context, report *Erasure, texts []string) error {
	tenant := report.Tenant
	err := w.replaceRows(ctx, tenant, func(store *tenantStore, conn *sql.Conn) (bool, error) {
		return true, w.eraseRows(ctx, store, conn, report)
	})
	if err != nil {
		return err
	}
	matcher := w.erasures.lists.Matcher(tenant)
	matcher.Texts = texts
	if report.Refused, err = w.eraseRefused(ctx, tenant, matcher); err != nil {
		return err
	}
	if err := w.eraseRuns(ctx, matcher); err != nil {
		return err
	}
	if report.Requests, err = w.RedactRequests(ctx, w.redactRequest); err != nil {
		return err
	}
	if err := errors.Join(w.rewriteControl(ctx), w.removeKept(ctx, tenant, matcher.Matches)); err != nil {
		return err
	}
	return w.folder.removeDurable(w.erasingPath(tenant))
}
