package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// MaxPublishLag is the lag of a publication from which it is a condition.
const MaxPublishLag = maxPublishLag

// ScrubAfter is the schedule of scrubs.
var ScrubAfter = scrubAfter

// ConditionsAt returns the conditions at a later time.
func (w *Warehouse) ConditionsAt(now time.Time) []Condition { return w.conditions.list(now) }

// SetMaxAttached sets the number of tenants that may be attached at the same time.
func (w *Warehouse) SetMaxAttached(n int) {
	w.tenants.mu.Lock()
	defer w.tenants.mu.Unlock()
	w.tenants.maxAttached = n
}

// Attached returns the number of attached tenants, and whether the tenant is one of them.
func (w *Warehouse) Attached(tenant uuid.UUID) (n int, attached bool) {
	w.tenants.mu.Lock()
	defer w.tenants.mu.Unlock()
	return len(w.tenants.open), w.tenants.open[tenant] != nil
}

// OpenTenant attaches the tenant and releases it.
func (w *Warehouse) OpenTenant(ctx context.Context, id uuid.UUID) error {
	_, release, err := w.tenant(ctx, id)
	if err == nil {
		release()
	}
	return err
}

// HookDetach makes the pool call before and after with the tenant at each DETACH. An error of before prevents the
// DETACH. Both errors make it fail.
func (w *Warehouse) HookDetach(before, after func(uuid.UUID) error) {
	w.tenants.detach = func(ctx context.Context, catalog string, db *sql.DB) error {
		id := uuid.MustParse(catalog)
		if err := before(id); err != nil {
			if db != nil {
				err = errors.Join(err, db.Close())
			}
			return err
		}
		return errors.Join(w.detachTenant(ctx, catalog, db), after(id))
	}
}

// WithDetached calls do while the tenant is not attached.
func (w *Warehouse) WithDetached(ctx context.Context, id uuid.UUID, do func() error) error {
	return w.withDetached(ctx, id, do)
}

// IsAttached reports whether a database is attached. Its query holds a reference to each attached database.
func (w *Warehouse) IsAttached(ctx context.Context, catalog string) (bool, error) {
	return w.isAttached(ctx, catalog)
}

// SetDrainTimeout bounds the time for which WithDetached waits for the users of a store. It returns the former bound.
func SetDrainTimeout(d time.Duration) (former time.Duration) {
	former, drainTimeout = drainTimeout, d
	return former
}

// MemoryOfChanges returns the bytes of memory of changes that are not checkpointed, and their bound.
func (w *Warehouse) MemoryOfChanges(ctx context.Context) (used, bound float64, err error) {
	used, err = w.checkpoints.memory(ctx)
	return used, checkpointAbove * w.checkpoints.limit, err
}

// FindingTable returns the table of docs/operating.md: kind, effect and command of each finding.
func FindingTable() (lines []string) {
	for kind, rule := range findingRules {
		command := strings.NewReplacer("{tenant}", "", "{owner}", "USER", "{data}", "FOLDER").Replace(rule.command)
		if name, _, _ := strings.Cut(command, " "); name == "voicory" || name == "chown" {
			command = "`" + command + "`"
		}
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s |", kind, rule.effect, command))
	}
	slices.Sort(lines)
	return lines
}

// InterruptRestore begins the restore of a whole data folder, and stops after steps steps of its swap, as the end of
// the process does. With steps < 0 it stops before the swap is planned. It returns the number of steps.
func InterruptRestore(ctx context.Context, opts Options, o RestoreOptions, steps int) (all int, err error) {
	source, m, err := o.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = source.Close() }() // it was only read
	folder, err := openFolder(opts)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, folder.close()) }()
	if err := folder.take(); err != nil {
		return 0, err
	}
	facts, err := folder.openJournal()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, facts.Close()) }()
	r := restore{folder: folder, journal: facts, source: source, options: o, manifest: m}
	plan, err := r.prepare(ctx)
	if err != nil || steps < 0 {
		return 0, err
	}
	if err := r.commit(plan); err != nil {
		return 0, err
	}
	for i, move := range plan.Moves[:min(len(plan.Moves), (steps+1)/2)] {
		if err := folder.clearPath(plan, move, map[string]bool{}); err != nil {
			return 0, err
		}
		if 2*i+1 < steps {
			if err := folder.placeStaged(plan, move, map[string]bool{}); err != nil {
				return 0, err
			}
		}
	}
	return 2 * len(plan.Moves), nil
}

// Checkpoint checkpoints the store of a tenant, as the checkpointer does, or the control database if id is zero.
func (w *Warehouse) Checkpoint(ctx context.Context, id uuid.UUID) error {
	if id == uuid.Nil {
		return w.checkpointFile(ctx, w.control, "control", w.folder.join(controlFile))
	}
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	return w.checkpoint(ctx, store)
}

// CopyPinned copies the store of a tenant to path as a backup does, and calls meanwhile before it reads the file.
func (w *Warehouse) CopyPinned(ctx context.Context, id uuid.UUID, path string, meanwhile func()) (err error) {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	pinned, err := w.pinTenant(ctx, store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pinned.release()) }()
	meanwhile()
	in, err := w.storeFiles.get(w.folder, pinned.catalog, pinned.path)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(io.NewSectionReader(in, 0, pinned.size))
	return errors.Join(err, os.WriteFile(path, text, 0o600))
}

// SetMaxKept sets the bound of the bytes that are kept for readers only. It returns the former bound.
func SetMaxKept(bytes int64) (former int64) {
	former, maxKept = maxKept, bytes
	return former
}

// SetDayFiles sets the numbers of rows from which a month is published by day, and below which as one file again.
func SetDayFiles(from, below int64) (previousFrom, previousBelow int64) {
	previousFrom, previousBelow = dayFiles, monthFile
	dayFiles, monthFile = from, below
	return previousFrom, previousBelow
}

// SetHealPause sets the pause between two tries of a failed write.
func (w *Warehouse) SetHealPause(d time.Duration) { w.healing.pause = d }

// SetConfirmAfter sets the time after which blocks that seem damaged are read again, until restore is called.
func SetConfirmAfter(d time.Duration) (restore func()) {
	before := confirmAfter
	confirmAfter = d
	return func() { confirmAfter = before }
}

// ExecInStore executes a statement in a tenant's store. If commits is true, it does so in a transaction like those that
// change the manifest.
func (w *Warehouse) ExecInStore(ctx context.Context, id uuid.UUID, statement string, commits bool) error {
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	if !commits {
		_, err := store.db.ExecContext(ctx, statement)
		return err
	}
	store.writing.Lock()
	defer store.writing.Unlock()
	return store.inTransaction(ctx, store.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, statement)
		return err
	})
}

// SetMaxLog sets the size of a log, such as 16MB, at which a commit is followed by a checkpoint, until restore is
// called.
func (w *Warehouse) SetMaxLog(t *testing.T, size string) (restore func()) {
	set := func(statement string) {
		if _, err := w.loader.ExecContext(t.Context(), statement); err != nil {
			t.Error(err)
		}
	}
	set("SET GLOBAL checkpoint_threshold = " + statements.Text(size))
	return func() { set("RESET GLOBAL checkpoint_threshold") }
}
