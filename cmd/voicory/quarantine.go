package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"text/tabwriter"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type quarantineCommand struct {
	List   listQuarantineCommand   `cmd:"" help:"List refused rows with the reasons; --json includes the rows."`
	Replay replayQuarantineCommand `cmd:"" help:"Ingest refused rows again, after they were fixed or voicory was upgraded."`
}

type listQuarantineCommand struct {
	Limit int64 `help:"Maximum refused rows to list (${default})." default:"100" placeholder:"N"`
}

// Run prints refused rows while they are read, those of the oldest files first.
func (c *listQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	limit := min(max(c.Limit, 0), math.MaxInt64-1)
	return f.withAdmin(ctx, func(api admin) error {
		list := refusalWriter(&refusalTable{out: tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)})
		if f.JSON {
			list = &refusalArray{out: m.Stdout}
		}
		n, more := int64(0), false
		for refusal, err := range api.Quarantine(ctx, limit+1) {
			if err != nil {
				return err
			}
			if n++; n > limit {
				more = true
				break
			}
			if err := list.write(refusal); err != nil {
				return err
			}
		}
		if err := list.end(); err != nil {
			return err
		}
		if more && !f.JSON {
			fmt.Fprintln(m.Stdout, "… more rows are not listed; raise --limit")
		}
		return nil
	})
}

// refusalWriter writes a list of refused rows one by one. end completes the list.
type refusalWriter interface {
	write(warehouse.Refusal) error
	end() error
}

// tableBlock is the number of rows whose columns are aligned together. It bounds the memory of a table.
const tableBlock = 100

// refusalTable writes a table.
type refusalTable struct {
	out  *tabwriter.Writer
	rows int
}

func (t *refusalTable) write(r warehouse.Refusal) error {
	t.head()
	t.rows++
	if _, err := fmt.Fprintf(t.out, "%s\t%s\t%s\t%s\t%d\t%s\n", r.Name, cmp.Or(r.Dataset, "-"), cmp.Or(r.Tenant, "-"),
		printable(r.File), r.Line, printable(r.Reason)); err != nil {
		return err
	}
	if t.rows%tableBlock == 0 {
		return t.out.Flush()
	}
	return nil
}

func (t *refusalTable) head() {
	if t.rows == 0 {
		fmt.Fprintln(t.out, "QUARANTINE FILE\tDATASET\tTENANT\tFROM\tLINE\tREASON")
	}
}

func (t *refusalTable) end() error {
	t.head()
	return t.out.Flush()
}

// refusalArray writes an array of JSON objects.
type refusalArray struct {
	out  io.Writer
	rows int
}

func (a *refusalArray) write(r warehouse.Refusal) error {
	text, err := json.MarshalIndent(r, "  ", "  ")
	if err != nil {
		return err
	}
	separator := ",\n  "
	if a.rows == 0 {
		separator = "[\n  "
	}
	a.rows++
	_, err = fmt.Fprintf(a.out, "%s%s", separator, text)
	return err
}

func (a *refusalArray) end() error {
	end := "\n]\n"
	if a.rows == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(a.out, end)
	return err
}

// Quarantine yields at most limit refused rows of the open folder.
func (l localAdmin) Quarantine(ctx context.Context, limit int64) iter.Seq2[warehouse.Refusal, error] {
	return func(yield func(warehouse.Refusal, error) bool) {
		n := int64(0)
		for refusal, err := range l.Warehouse.Quarantine(ctx) {
			if n++; n > limit || !yield(refusal, err) {
				return
			}
		}
	}
}

type replayQuarantineCommand struct {
	Files []string `arg:"" optional:"" name:"file" help:"Names of quarantine files; default: all."`
}

// replayed is the summary of a replay.
type replaySummary struct {
	schema.Counts
	Refusals  []warehouse.Refusal `json:"refusals"` // the first rows that were refused again
	Published publication         `json:"published"`
}

// Run ingests refused rows again, publishes, and prints the summary.
func (c *replayQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(api admin) error {
		total, err := api.Replay(ctx, c.Files)
		if err != nil {
			return err
		}
		if total.Published, err = m.publish(ctx, api, nil); err != nil {
			return err
		}
		return m.printResult(f, total, func(w io.Writer) {
			fmt.Fprintf(w, "read %d rows: %d new, %d changed, %d unchanged, %d deleted, %d refused again, "+
				"%d superseded by a newer version\n",
				total.Read, total.New, total.Changed, total.Unchanged, total.Deleted, total.Refused, total.Superseded)
			printRefusals(w, total.Refusals)
			warnDropped(w, total.Counts)
		})
	})
}

// Replay ingests refused rows again, in this process.
func (l localAdmin) Replay(ctx context.Context, files []string) (total replaySummary, err error) {
	total.Counts, total.Refusals, err = l.Warehouse.Replay(ctx, files...)
	total.Refusals = append([]warehouse.Refusal{}, total.Refusals...) // [] in JSON instead of null
	return total, err
}

// warnDropped prints a warning if the quarantine was full and dropped refused rows.
func warnDropped(w io.Writer, counts schema.Counts) {
	if counts.Dropped > 0 {
		fmt.Fprintf(w, "warning: the quarantine is full: %d refused rows were dropped from it; "+
			"see `voicory quarantine list`\n", counts.Dropped)
	}
}
