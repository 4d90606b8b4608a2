package warehouse

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/control"
)

// A Customer identifies a customer of a tenant.
type Customer struct {
	Tenant, ID uuid.UUID
	Deleted    bool // deleted here because a source did not show it; a source that shows it again has to send it again
}

// CustomersAfter returns at most limit customers of all tenants that follow after, ordered by the bytes of the
// tenant's id and then of the customer's id. It includes customers whose deletion was inferred, but not those that were
// deleted explicitly, and not those of tenants whose store is unavailable.
func (w *Warehouse) CustomersAfter(ctx context.Context, after Customer, limit int) ([]Customer, error) {
	tenants, err := w.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(tenants, func(a, b control.Tenant) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	var found []Customer
	for _, tenant := range tenants {
		switch bytes.Compare(tenant.ID[:], after.Tenant[:]) {
		case -1:
			continue
		case 1:
			after = Customer{Tenant: tenant.ID}
		}
		of, err := w.customersOf(ctx, after, limit-len(found))
		if errors.Is(err, ErrUnavailable) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("customers of tenant %s: %w", tenant.ID, err)
		}
		found = append(found, of...)
		if len(found) == limit {
			break
		}
	}
	return found, nil
}

// customersOf returns at most limit customers of the tenant of after that follow it.
func (w *Warehouse) customersOf(ctx context.Context, after Customer, limit int) (found []Customer, err error) {
	exists, err := w.storeExists(after.Tenant)
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
		customer := Customer{Tenant: after.Tenant}
		if err := rows.Scan(&customer.ID, &customer.Deleted); err != nil {
			return nil, err
		}
		found = append(found, customer)
	}
	return found, rows.Err()
}
