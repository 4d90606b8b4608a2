package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/voicory/warehouse/cmd/voicory/internal/admin"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type quarantineCommand struct {
	List   listQuarantineCommand   `cmd:"" help:"List refused rows with the reasons; --json includes the rows."`
	Replay replayQuarantineCommand `cmd:"" help:"Ingest refused rows and files again, after they were fixed or voicory was upgraded."`
	Remove removeQuarantineCommand `cmd:"" help:"Remove quarantine files, for example of files that were fixed and ingested again."`
}

type listQuarantineCommand struct {
	Limit int64 `help:"Maximum entries to list (${default})." default:"100" placeholder:"N"`
}

// Run prints refused rows while they are read, those of the oldest files first: each row as JSON, or a table of the
// reasons in each file.
func (c *listQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	limit := min(max(c.Limit, 0), math.MaxInt64-1)
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		var list refusalList = &refusalTable{out: tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0), limit: limit}
		fetched := int64(math.MaxInt64)
		if f.JSON {
			list, fetched = &refusalArray{out: m.Stdout, limit: limit}, limit+1
		}
		more := false
		for refusal, err := range admin.ListQuarantine(ctx, conn, fetched) {
			if err == nil {
				more, err = list.write(refusal)
			}
			if err != nil {
				return err
			}
			if more {
				break
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

// refusalList writes a list of refused rows one by one. write reports whether the row is beyond the limit, and was
// therefore not written. end completes the list.
type refusalList interface {
	write(warehouse.Refusal) (more bool, err error)
	end() error
}

// tableBlock is the number of lines of a table whose columns are aligned together. It bounds the memory of a table.
const tableBlock = 100

// refusalTable writes a table with one line for the rows of a file that were refused for one reason.
type refusalTable struct {
	out    *tabwriter.Writer
	limit  int64          // maximum number of lines
	lines  int64          // lines that were started
	begun  bool           // the heading was written
	file   string         // quarantine file of the block
	groups []refusalGroup // lines of the block
}

// A refusalGroup is a line of a refusalTable.
type refusalGroup struct {
	warehouse.Refusal // the first row
	rows              int64
}

func (t *refusalTable) write(r warehouse.Refusal) (more bool, err error) {
	if r.Name == t.file {
		for i, group := range t.groups {
			if group.File == r.File && group.Dataset == r.Dataset && group.Tenant == r.Tenant && group.Kind() == r.Kind() {
				t.groups[i].rows++
				return false, nil
			}
		}
	}
	if t.lines == t.limit {
		return true, nil
	}
	if r.Name != t.file || len(t.groups) == tableBlock {
		if err := t.end(); err != nil {
			return false, err
		}
		t.file, t.groups = r.Name, nil
	}
	t.lines++
	r.Row = ""
	t.groups = append(t.groups, refusalGroup{r, 1})
	return false, nil
}

func (t *refusalTable) end() error {
	if !t.begun {
		fmt.Fprintln(t.out, "QUARANTINE FILE\tDATASET\tTENANT\tFROM\tFIRST LINE\tROWS\tREASON")
		t.begun = true
	}
	for _, g := range t.groups {
		fmt.Fprintf(t.out, "%s\t%s\t%s\t%s\t%d\t%d\t%s\n", g.Name, cmp.Or(g.Dataset, "-"), cmp.Or(g.Tenant, "-"),
			printable(cmp.Or(g.File, "-")), g.Line, g.rows, printable(g.Reason))
	}
	t.groups = nil
	return t.out.Flush()
}

// refusalArray writes an array of JSON objects.
type refusalArray struct {
	out         io.Writer
	limit, rows int64
}

func (a *refusalArray) write(r warehouse.Refusal) (more bool, err error) {
	if a.rows == a.limit {
		return true, nil
	}
	text, err := json.MarshalIndent(r, "  ", "  ")
	if err != nil {
		return false, err
	}
	separator := ",\n  "
	if a.rows == 0 {
		separator = "[\n  "
	}
	a.rows++
	_, err = fmt.Fprintf(a.out, "%s%s", separator, text)
	return false, err
}

func (a *refusalArray) end() error {
	end := "\n]\n"
	if a.rows == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(a.out, end)
	return err
}

type replayQuarantineCommand struct {
	Files []string `arg:"" optional:"" name:"file" help:"Names of quarantine files; default: all."`
}

// replaySummary is the summary of a replay.
type replaySummary struct {
	admin.Replayed
	Published admin.Publication `json:"published"`
}

// Run ingests refused rows again, publishes, and prints the summary.
func (c *replayQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		var total replaySummary
		var err error
		if total.Replayed, err = admin.Replay.Call(ctx, conn, c.Files); err != nil {
			return err
		}
		if err = c.replayFiles(ctx, m, conn, &total.Replayed); err != nil {
			return err
		}
		if total.Published, err = m.publish(ctx, conn, nil); err != nil {
			return err
		}
		return m.printResult(f, total, func(w io.Writer) {
			fmt.Fprintf(w, "read %d rows: %d new, %d changed, %d unchanged, %d deleted, %d refused again, "+
				"%d superseded by a newer version",
				total.Read, total.New, total.Changed, total.Unchanged, total.Deleted, total.Refused, total.Superseded)
			if total.Erased > 0 {
				fmt.Fprintf(w, ", %d kept out by an erasure or the retention", total.Erased)
			}
			fmt.Fprintln(w)
			printRefusals(w, total.Refusals)
			warnDropped(w, total.Counts)
		})
	})
}

// replayFiles ingests the refused files again that are still at their paths, and removes the entries of those that can
// be read now.
func (c *replayQuarantineCommand) replayFiles(
	ctx context.Context, m *Main, conn *admin.Conn, total *admin.Replayed,
) error {
	files, withRows := map[string][]warehouse.Refusal{}, map[string]bool{} // by quarantine file
	for entry, err := range admin.ListQuarantine(ctx, conn, math.MaxInt64) {
		if err != nil {
			return err
		}
		if len(c.Files) == 0 || slices.Contains(c.Files, entry.Name) {
			if entry.Path == "" {
				withRows[entry.Name] = true
			} else {
				files[entry.Name] = append(files[entry.Name], entry)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		readable := !withRows[name]
		for _, entry := range files[name] {
			summary, err := replayFile(ctx, conn, entry)
			if err != nil {
				fmt.Fprintf(m.Stderr, "voicory: %s stays in the quarantine: %v\n", printable(entry.File), err)
				readable = false
				continue
			}
			total.Add(summary.Counts)
			total.Refusals = append(total.Refusals, summary.Refusals...)
			readable = readable && summary.FilesRefused == 0
		}
		if !readable {
			continue
		}
		if _, err := admin.RemoveQuarantined.Call(ctx, conn, []string{name}); err != nil {
			return err
		}
	}
	return nil
}

// replayFile ingests a refused file again.
func replayFile(ctx context.Context, conn *admin.Conn, entry warehouse.Refusal) (ingest.Summary, error) {
	tenant, err := parseOptionalUUID(entry.Tenant)
	if err != nil {
		return ingest.Summary{}, err
	}
	info, err := os.Stat(entry.Path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file any more", entry.Path)
	}
	if err != nil {
		return ingest.Summary{}, err
	}
	return admin.Ingest(ctx, conn, []ingest.Input{{Name: entry.File, Path: entry.Path, Dataset: entry.Dataset,
		Tenant: tenant, Size: info.Size(), FromQuarantine: true,
		Open: func() (io.ReadCloser, error) { return os.Open(entry.Path) }}})
}

type removeQuarantineCommand struct {
	Files []string `arg:"" name:"file" help:"Names of quarantine files."`
}

// Run removes quarantine files.
func (c *removeQuarantineCommand) Run(ctx context.Context, m *Main, f *flags) error {
	return f.withAdmin(ctx, func(conn *admin.Conn) error {
		if _, err := admin.RemoveQuarantined.Call(ctx, conn, c.Files); err != nil {
			return err
		}
		return m.printResult(f, c.Files, func(w io.Writer) {
			fmt.Fprintf(w, "removed %d quarantine files\n", len(c.Files))
		})
	})
}

// warnDropped prints a warning if the quarantine was full and dropped refused rows.
func warnDropped(w io.Writer, counts schema.Counts) {
	if counts.Dropped > 0 {
		fmt.Fprintf(w, "warning: the quarantine is full: %d refused rows were dropped from it; "+
			"see `voicory quarantine list`\n", counts.Dropped)
	}
}
