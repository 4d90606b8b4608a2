// Command soak keeps `voicory serve` under mixed load and checks that memory, files, goroutines and disk stay within
// bounds.
//
// It creates tenants, starts the binary as a process, and sends requests at a fixed rate: pushes with idempotency keys,
// pages, details, the change feed, exports, files, SQL, reports, changes of keys, publications, and invalid requests.
// Meanwhile it samples the process, its metrics and the data folder. At the end it stops the server and compares the
// samples with the bounds of bounds.go. It writes SVG charts and a Markdown page with the figures.
//
// Linux only: the samples are read from /proc.
//
//	make soak
//	go run ./bench/soak -tenants 100 -for 1m -only 'page|feed'
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
	"time"
)

// options are the flags.
type options struct {
	voicory string         // path of the binary
	tenants int            // number of tenants
	rate    float64        // requests per second
	length  time.Duration  // duration of the load
	memory  size           // --memory-limit of the server
	only    *regexp.Regexp // kinds of requests to send
	docs    string         // folder of the page and its charts; "": none are written
	dir     string         // parent of the temporary folder; "": that of the system
}

// A size is a number of MB.
type size float64

func (s size) bytes() float64 { return float64(s) * mb }
func (s size) String() string { return fmt.Sprintf("%gMB", float64(s)) }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	o, err := parseFlags()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "voicory-soak-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	report, err := soak(ctx, o, dir)
	if err != nil {
		return err
	}
	report.print(os.Stdout)
	if o.docs != "" {
		if err := report.write(o.docs); err != nil {
			return err
		}
	}
	return report.failure()
}

func parseFlags() (o options, err error) {
	flag.StringVar(&o.voicory, "voicory", "bin/voicory", "the binary to run")
	flag.IntVar(&o.tenants, "tenants", 1000, "number of tenants")
	flag.Float64Var(&o.rate, "rate", 25, "requests per second")
	flag.DurationVar(&o.length, "for", 30*time.Minute, "duration of the load")
	flag.Float64Var((*float64)(&o.memory), "memory-limit", 600, "memory limit of DuckDB in the server, in MB")
	flag.StringVar(&o.docs, "docs", "", "folder to write soak.md and its charts to")
	flag.StringVar(&o.dir, "dir", "", "parent of the temporary folder (default: that of the system)")
	var names []string
	for _, kind := range kinds {
		names = append(names, kind.name)
	}
	only := flag.String("only", "", "regular expression of the kinds of requests to send: "+strings.Join(names, ", "))
	flag.Parse()
	if o.tenants < 1 || o.rate <= 0 || o.length <= 0 {
		return o, errors.New("-tenants, -rate and -for must be positive")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return o, fmt.Errorf("-only: %w", err)
	}
	if o.voicory, err = filepath.Abs(o.voicory); err != nil {
		return o, err
	}
	if _, err := os.Stat(o.voicory); err != nil {
		return o, fmt.Errorf("no binary to run (make build): %w", err)
	}
	return o, nil
}

// soak runs the server under load and returns the report. All files are below dir.
func soak(ctx context.Context, o options, dir string) (r report, err error) {
	data := filepath.Join(dir, "data")
	tenants := newTenants(o.tenants)
	logf("create %d tenants", o.tenants)
	if err := ingestTenants(ctx, o.voicory, dir, data, tenants); err != nil {
		return r, err
	}
	s, err := startServer(ctx, o, dir, data)
	if err != nil {
		return r, err
	}
	defer func() {
		if s.running() {
			err = errors.Join(err, s.kill())
		}
	}()
	if err := s.createKeys(ctx, tenants); err != nil {
		return r, err
	}
	load := newLoad(o, s, tenants)
	sampler := newSampler(s, load)
	logf("send %.0f requests per second for %s", o.rate, o.length)
	if err := sampler.during(ctx, o.length, func(ctx context.Context) { load.run(ctx, o.length) }); err != nil {
		return r, err
	}
	costs, err := load.measureCosts(ctx)
	if err != nil {
		return r, err
	}
	took, err := s.stop()
	if err != nil {
		return r, err
	}
	return newReport(o, sampler.samples, load, costs, took), nil
}

// logf writes a progress message to standard error.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, "soak: "+format+"\n", args...) }
