package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
)

type requestsCommand struct {
	Since  time.Duration `help:"Only requests received within this time before now (${default})." default:"1h" placeholder:"TIME"`
	Tenant string        `help:"Only requests of this tenant." placeholder:"UUID"`
	Limit  int64         `help:"Maximum number of requests; the newest are printed (${default})." default:"10000" placeholder:"N"`
}

// Run prints the logged requests, oldest first.
func (c *requestsCommand) Run(ctx context.Context, m *Main, f *flags) error {
	tenant, err := parseOptionalUUID(c.Tenant)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		filter := uuid.NullUUID{UUID: tenant, Valid: c.Tenant != ""}
		requests, err := admin.ListRequests.Call(ctx, conn, admin.RequestFilter{
			Since: time.Now().Add(-c.Since), Tenant: filter, Limit: c.Limit,
		})
		if err != nil {
			return err
		}
		return m.printResult(f, requests, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "RECEIVED\tSTATUS\tMS\tBYTES\tREQUEST\tKEY\tTENANT\tADDRESS\tID")
			for _, r := range requests {
				target := r.Method + " " + r.Path
				if r.Query != "" {
					target += "?" + r.Query
				}
				fmt.Fprintf(table, "%s\t%d\t%.1f\t%d\t%s\t%s\t%s\t%s\t%s\n",
					r.At.Format("2006-01-02T15:04:05.000Z07:00"), r.Status, r.DurationMS, r.Bytes,
					printable(target), optionalID(r.Key), optionalID(r.Tenant), r.Address, r.ID)
			}
			_ = table.Flush() // errors of stdout are ignored, as for every other output
		})
	})
}

func optionalID(id uuid.NullUUID) string {
	if !id.Valid {
		return "-"
	}
	return id.UUID.String()
}
