package main

import (
	"context"
	"fmt"
	"io"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/warehouse/schema"
)

type eraseCommand struct {
	Tenant   string `help:"Tenant of the customer." required:"" placeholder:"UUID"`
	Customer string `help:"Phone number in any spelling, or id of the customer." required:"" placeholder:"PHONE_OR_ID"`
	DryRun   bool   `help:"Only count the rows that would be erased."`
}

// Run erases a customer and prints the files that still contain a text of the customer.
func (c *eraseCommand) Run(ctx context.Context, m *Main, f *flags) error {
	tenant, err := parseUUID(c.Tenant)
	if err != nil {
		return err
	}
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		request := admin.ErasureRequest{Tenant: tenant, Customer: c.Customer, DryRun: c.DryRun}
		report, err := admin.Erase.Call(ctx, conn, request)
		if err != nil {
			return err
		}
		return m.printResult(f, report, func(w io.Writer) {
			if c.DryRun {
				fmt.Fprintf(w, "would erase %s\n", rowsText(report.Rows))
				return
			}
			fmt.Fprintf(w, "erased %s, %d refused rows, %d entries of the request log\n",
				rowsText(report.Rows), report.Refused, report.Requests)
			for _, found := range report.Remaining {
				fmt.Fprintf(w, "%s still contains the %s %d times\n", found.File, found.Marker, found.Count)
			}
			if len(report.Remaining) == 0 {
				fmt.Fprintln(w, "searched all files: found nothing of the customer")
			}
		})
	})
}

// rowsText returns the numbers of rows by dataset as a text.
func rowsText(rows map[string]int64) string {
	return fmt.Sprintf("%d customers, %d calls, %d messages",
		rows[schema.Customers.Name], rows[schema.Calls.Name], rows[schema.Messages.Name])
}
