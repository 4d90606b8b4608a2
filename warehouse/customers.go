package warehouse

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// A Customer identifies a customer of a tenant.
type Customer struct{ Tenant, ID uuid.UUID }

// CustomersAfter returns at most limit customers of all tenants that follow after, ordered by the bytes of the
// tenant's id and then of the customer's id.
func (w *Warehouse) CustomersAfter(ctx context.Context, after Customer, limit int) ([]Customer, error) {
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tenants, func(a, b Tenant) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var found []Customer
	for _, tenant := range tenants {
		switch bytes.Compare(tenant.ID[:], after.Tenant[:]) {
		case -1:
			continue
		case 1:
			after = Customer{Tenant: tenant.ID}
		}
		ids, err := w.customerIDs(ctx, after, limit-len(found))
		if err != nil {
			return nil, fmt.Errorf("customers of tenant %s: %w", tenant.ID, err)
		}
		for _, id := range ids {
			found = append(found, Customer{tenant.ID, id})
		}
		if len(found) == limit {
			break
		}
	}
	return found, nil
}

// customerIDs returns at most limit ids of customers of one tenant that follow after.
func (w *Warehouse) customerIDs(ctx context.Context, after Customer, limit int) (ids []uuid.UUID, err error) {
	exists, err := w.folder.exists(w.tenantPath(after.Tenant))
	if err != nil || !exists {
		return nil, err // a tenant with a key has no file before its first batch of rows
	}
	store, release, err := w.tenant(ctx, after.Tenant)
	if err != nil {
		return nil, err
	}
	defer release()
	rows, err := store.db.QueryContext(ctx, statements.Get("pages/customer_ids"),
		sql.Named("id", after.ID.String()), sql.Named("limit", limit))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id uuid.UUID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
