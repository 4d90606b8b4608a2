package control

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A Tenant is one business. Its rows are stored apart from those of all other tenants.
type Tenant struct {
	ID        uuid.UUID `json:"id"`
	CreatedAt time.Time `json:"created_at"`

	Keep schema.Retention `json:"keep"`
}

// Tenants returns the tenants, oldest first.
func (d *DB) Tenants(ctx context.Context) ([]Tenant, error) {
	rows, err := d.db.QueryContext(ctx, statements.Get("control/select_tenants"))
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	defer rows.Close()
	tenants := []Tenant{}
	for rows.Next() {
		var t Tenant
		var keep string
		err := rows.Scan(&t.ID, &t.CreatedAt, &keep)
		if err == nil {
			err = t.Keep.UnmarshalText([]byte(keep))
		}
		if err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		tenants = append(tenants, t)
	}
	return tenants, rows.Err()
}

// RegisterTenant adds the tenant to the control database, unless it is there. It returns ErrTenantDeleted for a tenant
// that was deleted: its id is never used again.
func (d *DB) RegisterTenant(ctx context.Context, id uuid.UUID) error {
	if err := d.CheckDeleted(id); err != nil {
		return err
	}
	_, err := d.db.ExecContext(ctx, statements.Get("control/insert_tenant"), sql.Named("id", id.String()))
	if err != nil {
		return fmt.Errorf("register tenant %s: %w", id, err)
	}
	return nil
}

// retentions are the retentions of the tenants that have one. They are in memory, so that a merge needs no query.
type retentions struct {
	mu       sync.RWMutex
	byTenant map[uuid.UUID]schema.Retention // guarded by mu
}

// load reads all retentions from the control database.
func (r *retentions) load(tenants []Tenant) {
	r.byTenant = map[uuid.UUID]schema.Retention{}
	for _, t := range tenants {
		if len(t.Keep) > 0 {
			r.byTenant[t.ID] = t.Keep
		}
	}
}

// Retention returns how long rows of the tenant are kept.
func (d *DB) Retention(tenant uuid.UUID) schema.Retention {
	d.retentions.mu.RLock()
	defer d.retentions.mu.RUnlock()
	return d.retentions.byTenant[tenant]
}

// SetRetention sets how long rows of the tenant are kept. It returns ErrNotFound for an unknown tenant.
func (d *DB) SetRetention(ctx context.Context, tenant uuid.UUID, keep schema.Retention) error {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	tenants, err := d.Tenants(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(tenants, func(t Tenant) bool { return t.ID == tenant }) {
		return unknownTenant(tenant)
	}
	if err := d.recordRetention(tenant, keep); err != nil {
		return fmt.Errorf("set the retention of tenant %s: %w", tenant, err)
	}
	return d.storeRetention(ctx, tenant, keep)
}

// storeRetention writes a retention to the control database.
func (d *DB) storeRetention(ctx context.Context, tenant uuid.UUID, keep schema.Retention) error {
	d.retentions.mu.Lock()
	defer d.retentions.mu.Unlock()
	var id string
	err := d.db.QueryRowContext(ctx, statements.Get("control/update_retention"),
		sql.Named("id", tenant.String()), sql.Named("keep", keep.String())).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return unknownTenant(tenant)
	}
	if err != nil {
		return fmt.Errorf("set the retention of tenant %s: %w", tenant, err)
	}
	delete(d.retentions.byTenant, tenant)
	if len(keep) > 0 {
		d.retentions.byTenant[tenant] = keep
	}
	return nil
}

func unknownTenant(id uuid.UUID) error {
	return fmt.Errorf("%w: no tenant %s; `voicory tenants list` shows them", schema.ErrNotFound, id)
}

// deletedTenants are the tenants that were deleted. The journal of the data folder keeps them.
type deletedTenants struct {
	mu  sync.RWMutex
	ids map[uuid.UUID]bool // guarded by mu
}

// MarkDeleted makes CheckDeleted return an error for the tenants.
func (d *DB) MarkDeleted(ids ...uuid.UUID) {
	d.deleted.mu.Lock()
	defer d.deleted.mu.Unlock()
	if d.deleted.ids == nil {
		d.deleted.ids = map[uuid.UUID]bool{}
	}
	for _, id := range ids {
		d.deleted.ids[id] = true
	}
}

// DeletedTenants returns the tenants that were deleted.
func (d *DB) DeletedTenants() []uuid.UUID {
	d.deleted.mu.RLock()
	defer d.deleted.mu.RUnlock()
	return slices.Collect(maps.Keys(d.deleted.ids))
}

// CheckDeleted returns ErrTenantDeleted if the tenant was deleted.
func (d *DB) CheckDeleted(id uuid.UUID) error {
	d.deleted.mu.RLock()
	defer d.deleted.mu.RUnlock()
	if d.deleted.ids[id] {
		return fmt.Errorf("%w: %s; its id cannot be used again", ErrTenantDeleted, id)
	}
	return nil
}

// EndTenant marks the tenant as deleted, and removes its keys from memory: Authenticate does not find them any more,
// and the contexts that it returned for them are done.
func (d *DB) EndTenant(id uuid.UUID) {
	d.MarkDeleted(id)
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	d.keys.remove(id)
}

// DeleteTenant deletes the tenant, its keys and its entries of the request log. The caller has called EndTenant.
func (d *DB) DeleteTenant(ctx context.Context, id uuid.UUID) error {
	d.keys.changing.Lock()
	defer d.keys.changing.Unlock()
	if err := d.SaveRequests(ctx); err != nil {
		return err
	}
	tenant := statements.Text(id.String())
	if _, err := d.db.ExecContext(ctx, statements.Fill("control/delete_tenant", "tenant", tenant)); err != nil {
		return fmt.Errorf("delete tenant %s: %w", id, err)
	}
	return nil
}

// HasTenant reports whether the control database has an entry of the tenant: the tenant itself, a key or a request.
func (d *DB) HasTenant(ctx context.Context, id uuid.UUID) (has bool, err error) {
	query := statements.Fill("control/has_tenant", "tenant", statements.Text(id.String()))
	err = d.db.QueryRowContext(ctx, query).Scan(&has)
	return has, err
}

// Histories returns the histories of the tenants' stores, by tenant. Tenants without a store are missing.
func (d *DB) Histories(ctx context.Context) (map[uuid.UUID]uuid.UUID, error) {
	rows, err := d.db.QueryContext(ctx, statements.Get("control/select_histories"))
	if err != nil {
		return nil, fmt.Errorf("list histories: %w", err)
	}
	defer rows.Close()
	histories := map[uuid.UUID]uuid.UUID{}
	for rows.Next() {
		var tenant, history uuid.UUID
		if err := rows.Scan(&tenant, &history); err != nil {
			return nil, fmt.Errorf("list histories: %w", err)
		}
		histories[tenant] = history
	}
	return histories, rows.Err()
}

// SetHistory sets the history of the tenant's store. It registers the tenant unless it is registered.
func (d *DB) SetHistory(ctx context.Context, tenant, history uuid.UUID) error {
	_, err := d.db.ExecContext(ctx, statements.Get("control/upsert_history"),
		sql.Named("id", tenant.String()), sql.Named("history", history.String()))
	if err != nil {
		return fmt.Errorf("register the store of tenant %s: %w", tenant, err)
	}
	return nil
}
