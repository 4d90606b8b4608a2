package warehouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/internal/atomicfile"
	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
)

// A healer restores databases and folders after a failed write. It has a goroutine for each of them, until writing
// works again. Meanwhile the failure is a condition.
//
//   - A database whose checkpoint failed is refused by DuckDB. It is detached and attached again; its commits are in
//     its log.
//   - A database with a failed commit is usable, but the data of a failed sync may be lost, although later syncs
//     succeed. So the healer tries a commit, and then a checkpoint, which writes the earlier commits again. A
//     checkpoint that fails makes the database unreadable, so a file of the size of its log is written first.
//   - In a folder with a failed write, the healer writes a file.
type healer struct {
	w    *Warehouse
	ctx  context.Context // done when the warehouse is closed
	stop context.CancelFunc

	pause time.Duration // between two tries

	mu      sync.Mutex
	running map[failedPlace]bool // places that are not restored; guarded by mu
	durable map[string]bool      // databases that the disk has, unless they have failed since; guarded by mu
	control bool                 // the control database is open; guarded by mu
	all     sync.WaitGroup
}

// A failedPlace is a database or a folder with a failed write.
type failedPlace struct {
	tenant   uuid.UUID // of the database; zero: another database, or a folder
	database string    // name of the attached database; "": a folder
	folder   string    // in which a file is written to try the disk, relative to the data folder
}

// subject returns the subject of the conditions of the place.
func (p failedPlace) subject() string {
	switch {
	case p.tenant != uuid.Nil:
		return ""
	case p.database != "":
		return controlFile
	}
	return p.folder
}

// healPause is the pause between two tries, except in tests that shorten it.
const healPause = time.Second

func (h *healer) init(w *Warehouse) {
	h.w, h.running, h.durable, h.pause = w, map[failedPlace]bool{}, map[string]bool{}, healPause
	h.ctx, h.stop = context.WithCancel(context.Background())
}

// close ends the goroutines.
func (h *healer) close() {
	if h.stop == nil {
		return // not initialized
	}
	h.mu.Lock()
	h.stop()
	h.mu.Unlock()
	h.all.Wait()
}

// noteInvalidated starts a goroutine for a database that DuckDB refuses, unless it has one. It does not block: it is
// called where a statement fails.
func (h *healer) noteInvalidated(database string) {
	if place, ok := placeOfDatabase(database); ok {
		h.begin(place, fmt.Errorf("a checkpoint of the database %s failed", database))
	}
}

// noteFailedWrite starts a goroutine for the database or the folder of a file that could not be written, unless it has
// one. Failed writes of published files have a condition of their own, and those of temporary files none.
func (h *healer) noteFailedWrite(path string, err error) {
	name, outside := filepath.Rel(h.w.dir, path)
	if outside != nil || !filepath.IsLocal(name) {
		return
	}
	base, _, _ := strings.Cut(filepath.Base(name), storeSuffix)
	switch top, _, inFolder := strings.Cut(name, string(filepath.Separator)); {
	case strings.HasPrefix(name, controlFile):
		h.begin(failedPlace{database: "control", folder: "."}, err)
	case !inFolder:
		h.begin(failedPlace{folder: "."}, err)
	case top == warehouseDir && uuid.Validate(base) == nil && strings.Contains(name, storeSuffix):
		place, _ := placeOfDatabase(base)
		h.begin(place, err)
	case top == warehouseDir || top == quarantineDir:
		h.begin(failedPlace{folder: top}, err)
	}
}

// noteFailedTenant starts a goroutine for a tenant whose store could not be opened because the disk failed.
func (h *healer) noteFailedTenant(id uuid.UUID, err error) {
	h.begin(failedPlace{id, id.String(), warehouseDir}, err)
}

// placeOfDatabase returns the place of a database that is attached for longer than one operation.
func placeOfDatabase(database string) (place failedPlace, ok bool) {
	if database == "control" {
		return failedPlace{database: database, folder: "."}, true
	}
	tenant, err := uuid.Parse(database)
	return failedPlace{tenant, database, warehouseDir}, err == nil
}

// noteControl records that the control database is open. Its failures before are errors of Open.
func (h *healer) noteControl() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.control = true
}

// noteDurable records that the disk has the headers and the logs of a database.
func (h *healer) noteDurable(database string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.durable[database] = true
}

// isDurable reports whether this process knows that the disk has the headers and the logs of a database.
func (h *healer) isDurable(database string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	place, ok := placeOfDatabase(database)
	return h.durable[database] && (!ok || !h.running[place])
}

// heals reports whether a database has failed and is not restored yet.
func (h *healer) heals(database string) bool {
	place, ok := placeOfDatabase(database)
	h.mu.Lock()
	defer h.mu.Unlock()
	return ok && h.running[place]
}

func (h *healer) begin(place failedPlace, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running[place] || h.ctx.Err() != nil || place.database == "control" && !h.control {
		return
	}
	h.running[place] = true
	h.all.Go(func() {
		if !h.repeat(place, err) {
			return // Close must not take the database for a durable one
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.running, place)
	})
}

// repeat calls heal until writing works again or the warehouse is closed. Until then the failure is a condition. It
// reports whether writing works.
func (h *healer) repeat(place failedPlace, err error) (healed bool) {
	set := h.w.conditions.set
	for err != nil {
		kind, other := DiskFailing, StoreInvalidated
		if place.database != "" && h.w.isInvalidated(h.ctx, place.database) {
			kind, other = other, kind
		}
		set(place.tenant, kind, place.subject(), err)
		set(place.tenant, other, place.subject(), nil)
		if err = h.heal(place); err == nil {
			break
		}
		select {
		case <-h.ctx.Done():
			return false
		case <-time.After(h.pause):
		}
	}
	set(place.tenant, DiskFailing, place.subject(), nil)
	set(place.tenant, StoreInvalidated, place.subject(), nil)
	return true
}

// heal tries once.
func (h *healer) heal(place failedPlace) error {
	switch deleted := h.w.CheckDeleted(place.tenant); {
	case place.database == "":
		return h.w.tryDisk(place.folder, 0)
	case place.tenant == uuid.Nil:
		return h.w.healControl(h.ctx)
	case errors.Is(deleted, ErrTenantDeleted):
		return nil
	}
	return h.w.healTenant(h.ctx, place.tenant)
}

// tryDisk writes and syncs a file with the number of bytes, and a few more, and syncs the folder.
func (w *Warehouse) tryDisk(folder string, bytes int64) error {
	folder = w.folder.join(folder)
	err := w.folder.mkdir(folder)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, atomicfile.TempName("try"))
	err = w.folder.writeFile(path, make([]byte, bytes+4096))
	if err == nil {
		err = w.folder.sync(path)
	}
	if err = errors.Join(err, w.folder.removeIfThere(path)); err != nil {
		return err
	}
	return w.folder.sync(folder)
}

// healTenant attaches a tenant again if DuckDB refuses it, and otherwise checkpoints it.
func (w *Warehouse) healTenant(ctx context.Context, id uuid.UUID) error {
	if w.isInvalidated(ctx, id.String()) {
		return w.reattachTenant(ctx, id)
	}
	size, err := w.folder.size(w.tenantPath(id) + walSuffix)
	if err == nil {
		err = w.tryDisk(warehouseDir, min(size, maxTry))
	}
	if err != nil {
		return err
	}
	if exists, err := w.storeExists(id); err != nil || !exists {
		return nil // never created, or a condition that writing does not change
	}
	store, release, err := w.tenant(ctx, id)
	if err != nil {
		return err
	}
	defer release()
	store.writing.Lock() // a checkpoint alone does not write to an empty log
	err = store.inTransaction(ctx, store.db, func(*sql.Tx) error { return nil })
	store.writing.Unlock()
	// If the disk works and the commit fails, DuckDB cannot write the log any more. The checkpoint then fails too, and the
	// next try attaches the database again.
	return errors.Join(err, w.checkpoint(ctx, store))
}

// maxTry bounds the bytes that are written to try the disk.
const maxTry = 16 << 20

// healControl attaches the control database again if DuckDB refuses it, and otherwise checkpoints it.
func (w *Warehouse) healControl(ctx context.Context) error {
	w.rewriting.Lock()
	defer w.rewriting.Unlock()
	if w.isInvalidated(ctx, "control") {
		return w.reattachControl(ctx)
	}
	if err := w.tryDisk(".", 0); err != nil {
		return err
	}
	return w.checkpointFile(ctx, w.control, "control", w.folder.join(controlFile))
}

// reattachTenant detaches a tenant once its users have finished, and attaches it again.
func (w *Warehouse) reattachTenant(ctx context.Context, id uuid.UUID) error {
	if err := w.withDetached(ctx, id, func() error { return nil }); err != nil {
		return err
	}
	_, release, err := w.tenant(ctx, id)
	if err != nil {
		return err
	}
	release()
	return nil
}

// writeAgain makes durable what a failed sync of a database may have left in memory only: the headers of its file,
// which a checkpoint writes last, its logs, and their names. Blocks need no second write: a checkpoint syncs them
// before it writes the headers, which otherwise do not refer to them. The exception are the blocks that mendTornBlocks
// writes again. Without a second write, a power cut could take commits that were acknowledged after the disk worked
// again, because they follow these bytes. The database is not attached.
func (w *Warehouse) writeAgain(path string) error {
	errs := []error{w.folder.writeAgain(path, duckdb.HeadersBytes)}
	for _, suffix := range walSuffixes {
		errs = append(errs, w.folder.writeAgain(path+suffix, math.MaxInt64))
	}
	return errors.Join(append(errs, w.folder.sync(filepath.Dir(path)))...)
}

// reattachControl detaches the control database and attaches it again. Statements of other goroutines fail meanwhile,
// as they did before.
func (w *Warehouse) reattachControl(ctx context.Context) error {
	if _, err := w.loader.ExecContext(ctx, "DETACH DATABASE IF EXISTS control"); err != nil {
		return err
	}
	path := w.folder.join(controlFile)
	if err := w.writeAgain(path); err != nil {
		return err
	}
	if err := w.tryLog(ctx, path); err != nil {
		return err
	}
	return w.attachControl(ctx, w.loader)
}

// isInvalidated reports whether DuckDB refuses the database. A tenant that is not attached is not refused. Errors of
// statements that began before a database was attached again are no reason to do so once more.
func (w *Warehouse) isInvalidated(ctx context.Context, catalog string) bool {
	var versions int
	probe := "SELECT count(*) FROM " + statements.Ident(catalog) + ".schema_version"
	err := w.loader.QueryRowContext(ctx, probe).Scan(&versions)
	if err == nil || ctx.Err() != nil || catalog == "control" {
		return err != nil && ctx.Err() == nil
	}
	attached, err := w.isAttached(ctx, catalog)
	return attached || err != nil
}

// attachControl attaches the control database, unless it is attached.
func (w *Warehouse) attachControl(ctx context.Context, db execer) error {
	return execAttach(ctx, db, fmt.Sprintf(
		"ATTACH IF NOT EXISTS %s AS control (ROW_GROUP_SIZE %d, STORAGE_VERSION %s)",
		statements.Text(w.folder.join(controlFile)), RowGroup, storageVersion))
}
