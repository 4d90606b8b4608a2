package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type tenantsCommand struct {
	List   listTenantsCommand  `cmd:"" help:"List tenants and their conditions."`
	Set    setTenantCommand    `cmd:"" help:"Set how long the rows of a tenant are kept."`
	Prune  pruneTenantsCommand `cmd:"" help:"Delete the rows that are older than their tenants keep. A server does it once a day."`
	Delete deleteTenantCommand `cmd:"" help:"Delete a tenant with its keys, rows, files and refused rows. Its id cannot be used again."`
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
				fmt.Fprintf(w, "%s  since %s", tenant.ID, tenant.CreatedAt.Format(time.RFC3339))
				if len(tenant.Keep) > 0 {
					fmt.Fprintf(w, "  keeps %s", tenant.Keep)
				}
				fmt.Fprintln(w)
				if r := tenant.Restored; r != nil {
					fmt.Fprintf(w, "  restored at %s from backup %s\n", r.At.Format(time.RFC3339), r.Backup)
				}
				for _, c := range tenant.Conditions {
					fmt.Fprintf(w, "  %s since %s  %s: %s\n", c.Kind, c.Since.Format(time.RFC3339),
						cmp.Or(c.Subject, "store"), printable(c.Error))
				}
			}
		})
	})
}

type deleteTenantCommand struct {
	Tenant string `arg:"" help:"Id of the tenant."`
	Yes    bool   `help:"Delete without asking for the id again."`
}

// Run deletes a tenant, after the user has typed its id again.
func (c *deleteTenantCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	if !c.Yes {
		fmt.Fprintf(m.Stderr, "This deletes all data of the tenant. Type its id to go on: ")
		typed, _ := bufio.NewReader(m.Stdin).ReadString('\n') // the end of the input ends the id, too
		if again, parsed := uuid.Parse(strings.TrimSpace(typed)); parsed != nil || again != id {
			return fmt.Errorf("%w: the id was not typed; nothing was deleted (--yes deletes without asking)",
				warehouse.ErrInvalid)
		}
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		if _, err := admin.DeleteTenant.Call(ctx, conn, id); err != nil {
			return err
		}
		return m.printResult(f, id, func(w io.Writer) { fmt.Fprintf(w, "deleted %s\n", id) })
	})
}

type setTenantCommand struct {
	Tenant string           `arg:"" help:"Id of the tenant."`
	Keep   schema.Retention `help:"How long rows are kept after created_at, by dataset: calls=24mo,messages=90d. Other datasets are kept without a limit; none keeps all." required:"" placeholder:"DATASET=TIME,…"`
}

// Run changes the settings of a tenant.
func (c *setTenantCommand) Run(ctx context.Context, m *Main, f *flags) error {
	id, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		settings := admin.TenantSettings{Tenant: id, Keep: c.Keep}
		if _, err := admin.SetTenant.Call(ctx, conn, settings); err != nil {
			return err
		}
		return m.printResult(f, settings, func(w io.Writer) {
			if len(c.Keep) == 0 {
				fmt.Fprintf(w, "%s keeps all rows\n", id)
				return
			}
			fmt.Fprintf(w, "%s keeps %s; older rows leave within a day, or with `voicory tenants prune`\n", id, c.Keep)
		})
	})
}

type pruneTenantsCommand struct{}

// Run deletes rows by the retention of their tenants.
func (c *pruneTenantsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		expired, err := admin.PruneTenants.Call(ctx, conn, admin.None{})
		if err != nil {
			return err
		}
		return m.printResult(f, expired, func(w io.Writer) {
			for _, e := range expired {
				fmt.Fprintf(w, "%s  deleted %s\n", e.Tenant, rowsText(e.Rows))
			}
			if len(expired) == 0 {
				fmt.Fprintln(w, "no rows are older than their tenants keep")
			}
		})
	})
}
