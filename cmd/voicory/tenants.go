package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
)

type tenantsCommand struct {
	List listTenantsCommand `cmd:"" help:"List tenants and their conditions."`
}

type listTenantsCommand struct{}

// Run prints the tenants, oldest first, each with a line per condition.
func (c *listTenantsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		tenants, err := admin.ListTenants.Call(ctx, conn, admin.None{})
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
