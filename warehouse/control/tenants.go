package control

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// A Tenant is one business. Its rows are stored apart from those of all other tenants.
type Tenant struct {
	ID        uuid.UUID `json:"id"`
	CreatedAt time.Time `json:"created_at"`
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
		if err := rows.Scan(&t.ID, &t.CreatedAt); err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		tenants = append(tenants, t)
	}
	return tenants, rows.Err()
}

// RegisterTenant adds the tenant to the control database, unless it is there.
func (d *DB) RegisterTenant(ctx context.Context, id uuid.UUID) error {
	_, err := d.db.ExecContext(ctx, statements.Get("control/insert_tenant"), sql.Named("id", id.String()))
	if err != nil {
		return fmt.Errorf("register tenant %s: %w", id, err)
	}
	return nil
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
