package warehouse

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// restoreGap is the number of commits that a restored store skips for each history of the tenant so far. Commits that
// were lost, also after an earlier restore, have numbers in the gap. So a position in the change feed at a lost commit
// is refused, even if the position has no epoch.
const restoreGap = 1_000_000_000

// A Restore is the last restore of a tenant.
type Restore struct {
	Tenant   uuid.UUID `json:"tenant_id"`
	At       time.Time `json:"at"`
	Source   string    `json:"source"`    // path of the backups
	Backup   string    `json:"backup"`    // name of the backup
	BackupAt time.Time `json:"backup_at"` // start of the backup
	// Whole means that the whole data folder was restored, and not this tenant only.
	Whole bool `json:"whole"`
}

// resumeRestore finishes a restore whose files are in place. A tenant that fails is tried again by the next start.
func (w *Warehouse) resumeRestore(ctx context.Context) error {
	plan, err := w.folder.readPlan()
	if err != nil || plan == nil {
		return err
	}
	if err := w.finishRestore(ctx, plan); err != nil {
		if ctx.Err() != nil {
			return err
		}
		w.folder.log.Error("finish a restore; the next start tries again", "error", err)
	}
	return nil
}

// finishRestore completes the parts of a restore that need open databases, and then removes the plan. It may be called
// again after a crash.
func (w *Warehouse) finishRestore(ctx context.Context, plan *restorePlan) error {
	if err := w.UseJournal(ctx, w.journal); err != nil { // it has the entries of the journal beside the backups now
		return err
	}
	var failed []restoredTenant
	var errs []error
	for _, t := range plan.Tenants {
		if err := w.finishTenant(ctx, plan, t); err != nil {
			failed, errs = append(failed, t), append(errs, fmt.Errorf("tenant %s: %w", t.ID, err))
			continue
		}
		if !plan.Whole {
			w.folder.log.Warn("tenant restored", "tenant", t.ID, "from", plan.Source, "backup", plan.Backup,
				"backup_at", plan.BackupAt.Format(time.RFC3339))
		}
	}
	if plan.Whole {
		w.folder.log.Warn("data folder restored", "tenants", len(plan.Tenants)-len(failed), "from", plan.Source,
			"backup", plan.Backup, "backup_at", plan.BackupAt.Format(time.RFC3339))
	}
	if len(failed) > 0 {
		plan.Tenants = failed
		return errors.Join(append(errs, w.folder.writePlan(*plan))...)
	}
	return w.folder.removeDurable(w.folder.join(restoreFile))
}

// finishTenant begins a new history in a restored store, marks the partitions whose files are missing as stale, and
// records the restore.
func (w *Warehouse) finishTenant(ctx context.Context, plan *restorePlan, t restoredTenant) error {
	if err := w.RegisterTenant(ctx, t.ID); err != nil {
		return err
	}
	published, err := w.publishedBeforeRestore(ctx, plan, t.ID)
	if err != nil {
		return err
	}
	if err := w.beginRestored(ctx, t.ID, published); err != nil {
		return err
	}
	if err := w.ApplyErasures(ctx, t.ID); err != nil {
		return err
	}
	if len(plan.Lagging) > 0 {
		if err := w.addLags(ctx, t.ID, plan.Lagging); err != nil {
			return err
		}
	}
	w.publicationChanges.note(t.ID)
	return w.saveRestore(ctx, plan, t)
}

// publishedBeforeRestore returns the time of the last publication of the store that the restore has replaced, or the
// zero time if there was none, or if it cannot be read.
func (w *Warehouse) publishedBeforeRestore(ctx context.Context, plan *restorePlan, id uuid.UUID) (
	at time.Time, err error,
) {
	const catalog = "replaced"
	kept := w.folder.join(filepath.Join(plan.kept(), storeFile(id)))
	if exists, err := w.folder.exists(kept); err != nil || !exists {
		return at, err
	}
	if err = w.tryLog(ctx, kept); err == nil {
		err = w.attachReplaced(ctx, catalog, kept)
	}
	if err == nil {
		at, err = w.lastPublication(ctx, catalog)
		err = errors.Join(err, w.detach(context.WithoutCancel(ctx), catalog, "", nil))
	}
	if err != nil && isDamage(err) {
		w.folder.log.Warn("read the replaced store; if it was published while the clock was ahead, times of tables go back",
			"tenant", id, "error", err)
		err = nil
	}
	return at, err
}

// beginRestored begins a new history in the store of a restored tenant, after a gap in the numbers of its commits. The
// snapshots of its tables begin again, too: the one of the restored files is newer than those that readers know, so
// that versions of tables and the pointers in a bucket never go back. published is the time of the last publication of
// the replaced store.
func (w *Warehouse) beginRestored(ctx context.Context, id uuid.UUID, published time.Time) error {
	w.histories.mu.Lock()
	gap := restoreGap * max(1, int64(w.histories.begun[id]))
	w.histories.mu.Unlock()
	return w.restartHistory(ctx, id, published, func(store *tenantStore, tx *sql.Tx) error {
		stale, err := w.missingPartitions(ctx, store.id, tx, gap)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, statements.Fill("restore/begin", "store", "main", "gap", strconv.FormatInt(gap, 10),
			"lost", statements.Text(lostEpoch.String()), "epoch", statements.Text(uuid.NewString()), "touched", stale))
		if err != nil {
			return err
		}
		return store.forgetSnapshots(ctx, tx)
	})
}

// missingPartitions returns a literal of a JSON object that maps the partitions whose published files are missing, or
// have another size, to a commit after the gap.
func (w *Warehouse) missingPartitions(
	ctx context.Context, tenant uuid.UUID, tx *sql.Tx, gap int64,
) (string, error) {
	files, err := publishedFiles(ctx, tx)
	if err != nil {
		return "", err
	}
	var seq int64
	if err := tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&seq); err != nil {
		return "", err
	}
	stale := map[string]int64{}
	for _, f := range files {
		export := schema.MustExport(f.Export)
		p := f.partition()
		for _, path := range []string{filepath.Join(w.filesPath(tenant), f.Name), p.path(w, tenant, export)} {
			file, err := w.folder.open(path)
			if errors.Is(err, fs.ErrNotExist) {
				stale[p.name()] = seq + gap
				continue
			}
			if err != nil {
				return "", err
			}
			info, err := file.Stat()
			file.Close()
			if err != nil {
				return "", err
			}
			if info.Size() != f.Bytes {
				stale[p.name()] = seq + gap
			}
		}
	}
	text, err := json.Marshal(stale)
	return statements.Text(string(text)), err
}

// saveRestore records the restore of a tenant.
func (w *Warehouse) saveRestore(ctx context.Context, plan *restorePlan, t restoredTenant) error {
	tx, err := duckdb.Begin(ctx, w.control)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statements.Fill("control/upsert_restore", "tenant", statements.Text(t.ID.String()),
		"source", statements.Text(plan.Source), "backup", statements.Text(plan.Backup),
		"backup_at", statements.Text(plan.BackupAt.Format(time.RFC3339Nano)), "seq", strconv.FormatInt(t.Seq, 10),
		"whole", strconv.FormatBool(plan.Whole)))
	if err != nil {
		return errors.Join(fmt.Errorf("record the restore: %w", err), tx.Rollback())
	}
	return tx.Commit()
}

// Restores returns the last restore of each tenant that was restored, oldest first.
func (w *Warehouse) Restores(ctx context.Context) (restores []Restore, err error) {
	rows, err := w.control.QueryContext(ctx, statements.Get("control/select_restores"))
	if err != nil {
		return nil, fmt.Errorf("list restores: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r Restore
		if err := rows.Scan(&r.Tenant, &r.At, &r.Source, &r.Backup, &r.BackupAt, &r.Whole); err != nil {
			return nil, fmt.Errorf("list restores: %w", err)
		}
		r.At, r.BackupAt = r.At.UTC(), r.BackupAt.UTC()
		restores = append(restores, r)
	}
	return restores, rows.Err()
}
