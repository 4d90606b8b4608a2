package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/voicory/warehouse/warehouse"
)

type quarantineCommand struct {
	List   listQuarantineCommand   `cmd:"" help:"List refused rows, and why; with --json, also the rows."`
	Replay replayQuarantineCommand `cmd:"" help:"Take refused rows in again: once they were mended, or can be read now."`
}

type listQuarantineCommand struct {
	Limit int64 `help:"At most so many (${default})." default:"100" placeholder:"N"`
}

// Run lists refused rows, those of the oldest files first.
func (c *listQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withOperator(ctx, func(o operator) error {
		refusals, err := o.Quarantine(ctx, c.Limit+1)
		if err != nil {
			return err
		}
		more := int64(len(refusals)) > c.Limit
		refusals = refusals[:min(int64(len(refusals)), max(c.Limit, 0))]
		return m.print(f, refusals, func(w io.Writer) {
			table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "QUARANTINE FILE\tDATASET\tTENANT\tFROM\tLINE\tREASON")
			for _, r := range refusals {
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%s\n", r.Name, cmp.Or(r.Dataset, "-"), cmp.Or(r.Tenant, "-"), printable(r.File), r.Line, printable(r.Reason))
			}
			_ = table.Flush() // like any print: there is nobody left to tell
			if more {
				fmt.Fprintln(w, "… there are more; --limit shows them")
			}
		})
	})
}

type replayQuarantineCommand struct {
	Files []string `arg:"" optional:"" name:"file" help:"Files of the quarantine, by name; without any, all."`
}

// replayed is the summary of a replay.
type replayed struct {
	warehouse.Counts
	Refusals  []warehouse.Refusal `json:"refusals"` // the first that were refused again
	Published warehouse.Published `json:"published"`
}

// Run takes refused rows in again.
func (c *replayQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withOperator(ctx, func(o operator) error {
		total, err := o.Replay(ctx, c.Files)
		if err != nil {
			return err
		}
		if total.Published, err = o.Publish(ctx); err != nil {
			return err
		}
		return m.print(f, total, func(w io.Writer) {
			fmt.Fprintf(w, "read %d rows: %d new, %d changed, %d unchanged, %d deleted, %d refused again, %d superseded by a newer version\n",
				total.Read, total.New, total.Changed, total.Unchanged, total.Deleted, total.Refused, total.Superseded)
			printRefusals(w, total.Refusals)
			warnDropped(w, total.Counts)
		})
	})
}

// Replay takes refused rows in again here.
func (l local) Replay(ctx context.Context, files []string) (total replayed, err error) {
	total.Counts, total.Refusals, err = l.Warehouse.Replay(ctx, files...)
	total.Refusals = append([]warehouse.Refusal{}, total.Refusals...) // a list in JSON, too
	return total, err
}

// warnDropped tells of refused rows that the quarantine could not keep.
func warnDropped(w io.Writer, counts warehouse.Counts) {
	if counts.Dropped > 0 {
		fmt.Fprintf(w, "warning: the quarantine is full: %d refused rows were dropped from it; see `voicory quarantine list`\n", counts.Dropped)
	}
}
