// Command bench compares voicory with DuckDB and other programs that do the same work on the same synthetic rows. It
// prints a Markdown table with the figures, the targets, and whether each target was met.
//
// The compared programs run in turns, round by round, and each ratio is that of a pair, so that other load on the
// machine slows both. The table shows medians, with the minimum and maximum in brackets. All figures are from the same
// run.
//
//	make bench
//	go run ./bench -rows 20000 -rounds 1 -only 'changed|pages'
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// A bench is one run. Its fields are shared by the sections.
type bench struct {
	voicory      string // path of the voicory binary
	earlier      string // path of the binary of an earlier version; "": none
	dir          string // temporary folder with all files; removed at the end
	rows, rounds int
	table        table

	peak    float64 // peak memory of the section ingest in MiB; 0: not measured
	big     *loaded // tenant with twice the rows; nil: not created yet
	started int     // id of the process that was started last
	cost    int     // last cost of a changed row; each cost is used once
}

// The sections, in an order that matters: ingests run as processes before this process opens DuckDB itself (see run).
var sections = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"ingest", (*bench).ingest},
	{"postgres", (*bench).postgres},
	{"twice", (*bench).doubleRows},
	{"formats", (*bench).formats},
	{"changed", (*bench).smallMerge},
	{"pages", (*bench).pages},
	{"exports", (*bench).exports},
	{"sql", (*bench).sql},
	{"bombs", (*bench).hostileSQL},
	{"analytics", (*bench).analytics},
	{"load", (*bench).load},
	{"files", (*bench).files},
	{"bulk", (*bench).bulk},
	{"upstream", (*bench).upstream},
	{"publication", (*bench).publication},
	{"tables", (*bench).tables},
	{"spark", (*bench).spark},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := runSections(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runSections(ctx context.Context) (err error) {
	if len(os.Args) == 4 && os.Args[1] == duckdbCommand {
		return runDuckDBLoad(ctx, os.Args[2], os.Args[3])
	}
	if len(os.Args) == 5 && os.Args[1] == pullCommand {
		return runPull(ctx, os.Args[2], os.Args[3], os.Args[4])
	}
	b := bench{}
	flag.StringVar(&b.voicory, "voicory", "bin/voicory", "the binary to measure")
	flag.StringVar(&b.earlier, "earlier", "", "binary of an earlier version to compare publications with")
	flag.IntVar(&b.rows, "rows", 500_000, "calls in a load; the tenant that is read and changed has twice as many")
	flag.IntVar(&b.rounds, "rounds", 3, "number of measurements of each pair")
	parent := flag.String("dir", "", "parent of the temporary folder (default: the system's)")
	var names []string
	for _, section := range sections {
		names = append(names, section.name)
	}
	only := flag.String("only", "", "regular expression of the sections to run: "+strings.Join(names, ", "))
	flag.Parse()
	if b.rows < changedRows || b.rounds < 1 {
		return fmt.Errorf("-rows must be at least %d and -rounds at least 1", changedRows)
	}
	wanted, err := regexp.Compile(*only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if b.voicory, err = filepath.Abs(b.voicory); err != nil {
		return err
	}
	if _, err := os.Stat(b.voicory); err != nil {
		return fmt.Errorf("no binary to measure (make build): %w", err)
	}
	if b.dir, err = os.MkdirTemp(*parent, "voicory-bench-"); err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()

	for _, section := range sections {
		if !wanted.MatchString(section.name) {
			continue
		}
		if err = section.run(&b, ctx); err != nil {
			err = fmt.Errorf("%s: %w", section.name, err)
			break // the table of the completed sections is still printed
		}
	}
	machine, unknown := describeMachine(context.WithoutCancel(ctx))
	b.table.print(os.Stdout)
	fmt.Printf("\n%s; -rows %d -rounds %d\n", machine, b.rows, b.rounds)
	return errors.Join(err, unknown)
}

// logf writes a progress message to standard error.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
