package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

type tenantsCommand struct {
	List listTenantsCommand `cmd:"" help:"List tenants and their conditions."`
}

type listTenantsCommand struct{}

// tenantStatus is a tenant with the conditions that the process which has the data folder open has noticed.
type tenantStatus struct {
	control.Tenant
	Conditions []warehouse.Condition `json:"conditions"`
}

// Tenants returns the tenants with their conditions, oldest first.
func (l localAdmin) Tenants(ctx context.Context) ([]tenantStatus, error) {
	tenants, err := l.Warehouse.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	byTenant := map[uuid.UUID][]warehouse.Condition{}
	for _, c := range l.Conditions() {
		byTenant[c.Tenant] = append(byTenant[c.Tenant], c)
	}
	list := make([]tenantStatus, len(tenants))
	for i, tenant := range tenants {
		list[i] = tenantStatus{tenant, append([]warehouse.Condition{}, byTenant[tenant.ID]...)}
	}
	return list, nil
}

// Run prints the tenants, oldest first, each with a line per condition.
func (c *listTenantsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(api admin) error {
		tenants, err := api.Tenants(ctx)
		if err != nil {
			return err
		}
		return m.printResult(f, tenants, func(w io.Writer) {
			for _, tenant := range tenants {
				fmt.Fprintf(w, "%s  since %s\n", tenant.ID, tenant.CreatedAt.Format(time.RFC3339))
				for _, c := range tenant.Conditions {
					fmt.Fprintf(w, "  %s since %s  %s: %s\n", c.Kind, c.Since.Format(time.RFC3339),
						cmp.Or(c.Subject, "store"), printable(c.Error))
				}
			}
		})
	})
}
