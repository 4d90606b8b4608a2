// Command bench measures voicory against DuckDB alone doing the same work on the same invented rows, and prints one
// Markdown table: what was measured, the reach that was set for it, and whether it is within.
//
// Whatever is compared is run in turns, round by round, and each ratio is that of a pair, so that a machine with other
// work slows both. Medians are shown, with the smallest and the largest in brackets. Nothing is judged by memory: all
// figures come from this run.
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

// bench is one run, with what its sections share.
type bench struct {
	voicory      string // path of the binary
	dir          string // everything that is made lies in here, and goes with it
	rows, rounds int
	table        table

	peak    float64 // MiB, the highest that an ingest of rows took; 0: not measured
	big     *loaded // a tenant of twice the rows; nil: not made yet
	started int     // the process that was started last
	cost    int     // the last cost that a changed row was given: each is given once
}

// The sections, in an order that matters: ingests run as processes before this process opens DuckDB itself (see run).
var sections = []struct {
	name string
	run  func(*bench, context.Context) error
}{
	{"ingest", (*bench).ingest},
	{"postgres", (*bench).postgres},
	{"twice", (*bench).twice},
	{"formats", (*bench).formats},
	{"changed", (*bench).changed},
	{"pages", (*bench).pages},
	{"exports", (*bench).exports},
	{"sql", (*bench).sql},
	{"bombs", (*bench).bombs},
	{"analytics", (*bench).analytics},
	{"load", (*bench).load},
	{"files", (*bench).files},
	{"bulk", (*bench).bulk},
	{"upstream", (*bench).upstream},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context) (err error) {
	if len(os.Args) == 4 && os.Args[1] == duckdbAlone {
		return loadAlone(ctx, os.Args[2], os.Args[3])
	}
	if len(os.Args) == 5 && os.Args[1] == pullAlone {
		return pullOnly(ctx, os.Args[2], os.Args[3], os.Args[4])
	}
	b := bench{}
	flag.StringVar(&b.voicory, "voicory", "bin/voicory", "the binary to measure")
	flag.IntVar(&b.rows, "rows", 500_000, "calls in a load; the tenant that is read and changed has twice as many")
	flag.IntVar(&b.rounds, "rounds", 3, "how often each pair is measured")
	parent := flag.String("dir", "", "where to make the temporary folder; default: the system's")
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
			break // what was measured until here is printed all the same
		}
	}
	machine, unknown := describeMachine(context.WithoutCancel(ctx))
	b.table.print(os.Stdout)
	fmt.Printf("\n%s; -rows %d -rounds %d\n", machine, b.rows, b.rounds)
	return errors.Join(err, unknown)
}

// note tells how far the run is.
func note(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }
