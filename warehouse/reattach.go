package warehouse

import (
	"context"
	"database/sql"
	"errors"
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

// reattachControl detaches the control database and attaches it again. Its connection is held meanwhile, so all other
// users wait.
func (w *Warehouse) reattachControl(ctx context.Context) (err error) {
	conn, err := w.control.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	ctx = context.WithoutCancel(ctx) // a half-done DETACH would make the control database unusable
	detached := detachControl(ctx, conn)
	return errors.Join(detached, w.attachControl(ctx, conn))
}

// detachControl detaches the control database from its connection. Only attachControl makes the connection usable again.
func detachControl(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "USE memory"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "DETACH DATABASE IF EXISTS control")
	return err
}

// attachControl attaches the control database, unless it is attached, and makes it the default of its connection.
func (w *Warehouse) attachControl(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, fmt.Sprintf(
		"ATTACH IF NOT EXISTS %s AS control (ROW_GROUP_SIZE %d, STORAGE_VERSION %s)",
		statements.Text(w.folder.join(controlFile)), RowGroup, storageVersion))
	if err == nil {
		_, err = conn.ExecContext(ctx, "USE control")
	}
	return err
}
