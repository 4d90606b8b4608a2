package warehouse

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// A reattacher detaches databases that DuckDB refuses since a failed checkpoint, and attaches them again. Their commits
// are in their logs. It has a goroutine for each such database, until the database can be used again.
type reattacher struct {
	w    *Warehouse
	ctx  context.Context // done when the warehouse is closed
	stop context.CancelFunc

	mu      sync.Mutex
	running map[string]bool // databases that have a goroutine; guarded by mu
	all     sync.WaitGroup
}

// reattachPause is the pause between two tries. Tests shorten it.
var reattachPause = time.Second

func (r *reattacher) init(w *Warehouse) {
	r.w, r.running = w, map[string]bool{}
	r.ctx, r.stop = context.WithCancel(context.Background())
}

// close ends the goroutines.
func (r *reattacher) close() {
	if r.stop == nil {
		return // not initialized
	}
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.all.Wait()
}

// begin starts a goroutine for a database, unless it has one. It does not block: it is called where a statement fails.
func (r *reattacher) begin(catalog string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[catalog] || r.ctx.Err() != nil {
		return
	}
	r.running[catalog] = true
	r.all.Go(func() {
		r.repeat(catalog)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.running, catalog)
	})
}

// repeat tries until the database is attached again or the warehouse is closed. Until then it is a condition.
func (r *reattacher) repeat(catalog string) {
	tenant, err := uuid.Parse(catalog)
	reattach := func() error { return r.w.reattachTenant(r.ctx, tenant) }
	if err != nil {
		reattach = func() error { return r.w.reattachControl(r.ctx) }
	}
	r.w.conditions.set(tenant, StoreInvalidated, "", fmt.Errorf("a checkpoint of the database %s failed", catalog))
	for {
		err := reattach()
		if err == nil {
			r.w.conditions.set(tenant, StoreInvalidated, "", nil)
			return
		}
		r.w.conditions.set(tenant, StoreInvalidated, "", err)
		select {
		case <-r.ctx.Done():
			return
		case <-time.After(reattachPause):
		}
	}
}

// reattachTenant detaches a tenant once its users have finished, and attaches it again.
func (w *Warehouse) reattachTenant(ctx context.Context, id uuid.UUID) error {
	if !w.isInvalidated(ctx, id.String()) {
		return nil
	}
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

// reattachControl detaches the control database and attaches it again. Statements of other goroutines fail meanwhile,
// as they did before.
func (w *Warehouse) reattachControl(ctx context.Context) error {
	if !w.isInvalidated(ctx, "control") {
		return nil
	}
	if _, err := w.loader.ExecContext(ctx, "DETACH DATABASE IF EXISTS control"); err != nil {
		return err
	}
	return w.attachControl(ctx, w.loader)
}

// isInvalidated reports whether DuckDB refuses the database. Errors of statements that began before it was attached
// again are no reason to do so once more.
func (w *Warehouse) isInvalidated(ctx context.Context, catalog string) bool {
	var versions int
	probe := "SELECT count(*) FROM " + statements.Ident(catalog) + ".schema_version"
	err := w.loader.QueryRowContext(ctx, probe).Scan(&versions)
	return err != nil
}

// attachControl attaches the control database, unless it is attached.
func (w *Warehouse) attachControl(ctx context.Context, db interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}) error {
	_, err := db.ExecContext(ctx, fmt.Sprintf(
		"ATTACH IF NOT EXISTS %s AS control (ROW_GROUP_SIZE %d, STORAGE_VERSION %s)",
		statements.Text(w.folder.join(controlFile)), RowGroup, storageVersion))
	return err
}
