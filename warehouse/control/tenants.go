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
