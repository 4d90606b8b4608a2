package admin

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
)

// TenantStatus is a tenant with the conditions that the process which has the data folder open has noticed.
type TenantStatus struct {
	control.Tenant
	Conditions []warehouse.Condition `json:"conditions"`
	Restored   *warehouse.Restore    `json:"restored,omitempty"` // last restore from a backup
}

// ListTenants returns the tenants with their conditions, oldest first.
var ListTenants = operation("tenants/list", func(ctx context.Context, l *Local, _ None) ([]TenantStatus, error) {
	tenants, err := l.Warehouse.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	byTenant := map[uuid.UUID][]warehouse.Condition{}
	for _, c := range l.Warehouse.Conditions() {
		byTenant[c.Tenant] = append(byTenant[c.Tenant], c)
	}
	restores, err := l.Warehouse.Restores(ctx)
	if err != nil {
		return nil, err
	}
	restored := map[uuid.UUID]*warehouse.Restore{}
	for _, r := range restores {
		restored[r.Tenant] = &r
	}
	list := make([]TenantStatus, len(tenants))
	for i, tenant := range tenants {
		list[i] = TenantStatus{tenant, append([]warehouse.Condition{}, byTenant[tenant.ID]...), restored[tenant.ID]}
	}
	return list, nil
})

// DeleteTenant deletes a tenant with all its data.
var DeleteTenant = operation("tenants/delete", func(ctx context.Context, l *Local, id uuid.UUID) (None, error) {
	return None{}, l.Warehouse.DeleteTenant(ctx, id)
})

// TenantSettings is the request of SetTenant.
type TenantSettings struct {
	Tenant uuid.UUID        `json:"tenant_id"`
	Keep   schema.Retention `json:"keep"`
}

// SetTenant changes the settings of a tenant.
var SetTenant = operation("tenants/set", func(ctx context.Context, l *Local, r TenantSettings) (None, error) {
	return None{}, l.Warehouse.SetRetention(ctx, r.Tenant, r.Keep)
})

// PruneTenants deletes the rows that are older than their tenants keep.
var PruneTenants = operation("tenants/prune", func(ctx context.Context, l *Local, _ None) ([]warehouse.Expiry, error) {
	expired, err := l.Warehouse.ApplyRetention(ctx)
	return append([]warehouse.Expiry{}, expired...), err
})

// RequestFilter selects entries of the request log.
type RequestFilter struct {
	Since  time.Time     `json:"since"`
	Tenant uuid.NullUUID `json:"tenant_id"`
	Limit  int64         `json:"limit"`
}

// ListRequests returns the newest entries of the request log that the filter selects.
var ListRequests = operation("requests/list",
	func(ctx context.Context, l *Local, r RequestFilter) ([]control.Request, error) {
		return l.Warehouse.Requests(ctx, r.Since, r.Tenant, r.Limit)
	})
