package warehouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// drainTimeout bounds the time for which withDetached waits for the users of a store. New users of the tenant wait too.
// Tests change it.
var drainTimeout = time.Minute

// withDetached calls do while the file of the tenant is not attached. Callers that use the store finish first, and new
// ones wait until do has returned; they find the files that do has left. If the users do not finish within
// drainTimeout, withDetached returns ErrBusy and has changed nothing. The caller holds no lock and uses no store.
func (w *Warehouse) withDetached(ctx context.Context, id uuid.UUID, do func() error) error {
	// One tenant at a time: users of two stores could otherwise wait for each other.
	w.tenants.draining.Lock()
	defer w.tenants.draining.Unlock()
	waiting, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	store, err := w.tenants.drain(waiting, id)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: exports or queries of tenant %s still run after %s; try again later",
				ErrBusy, id, drainTimeout)
		}
		return err
	}
	if store != nil {
		detaching := context.WithoutCancel(ctx)
		err := w.tenants.detach(detaching, id.String(), store.db)
		if attached, checked := w.isAttached(detaching, id.String()); attached || checked != nil {
			w.tenants.endDrain(id, store)
			return errors.Join(err, checked)
		}
		if err != nil { // of the checkpoint: a damaged file cannot be written
			w.storeFiles.close(id.String())
			w.folder.log.Warn("tenant detached without a checkpoint; its commits are in its log", "tenant", id, "error", err)
		}
	}
	defer w.tenants.endDrain(id, nil)
	return do()
}

// isAttached reports whether a database is attached.
func (w *Warehouse) isAttached(ctx context.Context, catalog string) (attached bool, err error) {
	err = w.loader.QueryRowContext(ctx, "SELECT count(*) > 0 FROM duckdb_databases() WHERE database_name = $1",
		catalog).Scan(&attached)
	return attached, err
}

// drain waits until the tenant's store has no users, and keeps others from opening the tenant until endDrain is called.
// It returns nil instead of a store if the tenant is not attached.
func (p *tenantPool) drain(ctx context.Context, id uuid.UUID) (store *tenantStore, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.awaitDetached(ctx, id); err != nil {
		return nil, err
	}
	p.detaching[id] = make(chan struct{})
	for store = p.open[id]; store != nil && store.users > 0; {
		idle := make(chan struct{})
		store.idle = idle
		p.mu.Unlock()
		select {
		case <-idle:
		case <-ctx.Done():
			err = ctx.Err()
		}
		p.mu.Lock()
		if err != nil {
			store.idle = nil
			close(p.detaching[id])
			delete(p.detaching, id)
			return nil, err
		}
		store = p.open[id] // forgotten meanwhile if it could not be attached
	}
	if store != nil {
		delete(p.open, id) // so that takeVictim does not return it
	}
	return store, nil
}

// endDrain lets other callers open the tenant. store is the store if it could not be detached, and nil otherwise.
func (p *tenantPool) endDrain(id uuid.UUID, store *tenantStore) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if store != nil { // see detachVictim
		p.open[id] = p.newStore(id)
		p.open[id].lastUsed = time.Now()
	}
	delete(p.made, id) // facts of the former file
	close(p.detaching[id])
	delete(p.detaching, id)
}

// reservation is the key under which a context holds the id of the tenant that is reserved for its owner.
type reservation struct{}

// reserve keeps all callers from opening the tenant, except those with the returned context, until release is called.
// Callers that use the store already are not affected. The caller makes sure that the tenant is not reserved already.
func (p *tenantPool) reserve(ctx context.Context, id uuid.UUID) (_ context.Context, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := make(chan struct{})
	p.reserved[id] = done
	return context.WithValue(ctx, reservation{}, id), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.reserved, id)
		close(done)
	}
}
