package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

type tenantsCommand struct {
	List listTenantsCommand `cmd:"" help:"List tenants."`
}

type listTenantsCommand struct{}

// Run prints the tenants, oldest first.
func (c *listTenantsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(api admin) error {
		tenants, err := api.Tenants(ctx)
		if err != nil {
			return err
		}
		return m.printResult(f, tenants, func(w io.Writer) {
			for _, tenant := range tenants {
				fmt.Fprintf(w, "%s  since %s\n", tenant.ID, tenant.CreatedAt.Format(time.RFC3339))
			}
		})
	})
}
