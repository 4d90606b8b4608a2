package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
)

type sourcesCommand struct{}

// maxRestored is the maximum number of restored tenants that are named for a source.
const maxRestored = 10

// Run prints the sources with the counts of their last runs, and then their errors.
func (c *sourcesCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		list, err := admin.ListSources.Call(ctx, conn, admin.None{})
		if err != nil {
			return err
		}
		return m.printResult(f, list, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "NAME\tSTATE\tAS OF\tEVERY\tREAD\tNEW\tCHANGED\tDELETED\tREFUSED\tSOURCE")
			for _, s := range list {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n",
					cmp.Or(s.Name, "-"), s.State, s.LastSuccess(), cmp.Or(s.Every, "-"),
					s.Rows.Read, s.Rows.New, s.Rows.Changed, s.Rows.Deleted, s.Rows.Refused, printable(s.Source))
			}
			_ = table.Flush() // errors of stdout are ignored, as for every other output
			for _, s := range list {
				name := cmp.Or(s.Name, s.Source)
				if s.Error != "" {
					fmt.Fprintf(w, "%s: %s\n", name, printable(s.Error))
				}
				for _, r := range s.Restored[:min(len(s.Restored), maxRestored)] {
					fmt.Fprintf(w, "%s: tenant %s was restored at %s from backup %s; the next run reads its rows again\n",
						name, r.Tenant, r.At.Format(time.RFC3339), r.Backup)
				}
				if more := len(s.Restored) - maxRestored; more > 0 {
					fmt.Fprintf(w, "%s: %s more\n", name, count(more, "restored tenant"))
				}
			}
		})
	})
}
