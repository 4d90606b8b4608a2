package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report has the outcome of a run.
type report struct {
	options options
	samples []sample
	load    *load
	costs   map[string]time.Duration // CPU time per request, by kind
	bounds  []bound
}

func newReport(
	o options, samples []sample, l *load, costs map[string]time.Duration, stopped time.Duration,
) report {
	return report{o, samples, l, costs, newBounds(samples, o.memory.bytes(), o.tenants, l, stopped)}
}

// failure returns an error that names the bounds that were exceeded, and the first wrong answers.
func (r report) failure() error {
	errs := slices.Clone(r.load.errs)
	for _, b := range r.bounds {
		if !b.met() {
			errs = append(errs, fmt.Errorf("%s: got %s, want at most %s", b.name, b.format(b.figure), b.format(b.limit)))
		}
	}
	return errors.Join(errs...)
}

// print writes the figures as Markdown.
func (r report) print(w io.Writer) {
	first, last := r.samples[0], r.samples[len(r.samples)-1]
	took := last.at - first.at
	fmt.Fprintf(w, "%s/%s, %d cores, %s, %s; `go run ./bench/soak -tenants %d -rate %g -for %s -memory-limit %g`.\n\n",
		runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(), time.Now().UTC().Format(time.DateOnly),
		r.options.tenants, r.options.rate, r.options.length, float64(r.options.memory))
	fmt.Fprintf(w, "%d requests in %s, %.1f per second. %d more were due while %d were in flight, and were left out. "+
		"%d answers were 429 or 503 with Retry-After, and their requests were sent again. "+
		"The server used %s of CPU time and wrote %s.\n\n", last.requests, took.Round(time.Second),
		float64(last.requests)/took.Seconds(), r.load.left, maxInFlight, r.load.retries,
		(last.cpu - first.cpu).Round(time.Second), megabytes(last.written-first.written))

	fmt.Fprintln(w, "| figure | highest | bound | |\n|---|---|---|---|")
	for _, b := range r.bounds {
		verdict := "ok"
		if !b.met() {
			verdict = "**exceeded**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", b.name, b.format(b.figure), b.format(b.limit), verdict)
	}

	fmt.Fprint(w, "\n| at | requests | resident | DuckDB | Go | other | malloc | open files | goroutines | disk | "+
		"control database |\n", strings.Repeat("|---", 11), "|\n")
	const shown = 7
	for i := range shown {
		s := r.samples[i*(len(r.samples)-1)/(shown-1)]
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s | %s | %s | %d | %d | %s | %s |\n", s.at.Round(time.Second), s.requests,
			megabytes(s.rss), megabytes(s.duckdb), megabytes(s.goMemory), megabytes(s.other()), megabytes(s.malloc), s.files,
			s.goroutines, megabytes(s.disk()), megabytes(s.control))
	}

	fmt.Fprintln(w, "\n| request | answered | median | 99 % | CPU time per request |\n|---|---|---|---|---|")
	for _, k := range r.load.kinds {
		took := slices.Sorted(slices.Values(r.load.took[k.name]))
		if len(took) == 0 {
			continue
		}
		fmt.Fprintf(w, "| %s | %d | %s | %s | %s |\n", k.name, len(took), milliseconds(took[len(took)/2]),
			milliseconds(took[len(took)*99/100]), milliseconds(r.costs[k.name]))
	}
}

// introduction begins the page.
const introduction = `# Soak test

%[1]smake soak%[1]s wrote this page and its charts. It keeps a server under mixed load and compares memory, files,
goroutines and disk with bounds. The tenants have a fixed set of rows, which the load changes, deletes and restores.
"Other" memory is resident, but neither in DuckDB's limit nor in the Go runtime. A part of it is allocated by malloc
and not freed. That part grows at first, because DuckDB keeps records of freed buffers until its eviction queues are
full, at most 8 MB in each of 8 queues. So its growth has a bound only if the second half begins after %[2]s
requests. The rest of "other" memory is code, stacks, and pages that the allocators keep. The CPU time per request is
that of requests one after the other, before which the server has completed its background work.

`

// write writes the page and its charts to a folder.
func (r report) write(dir string) error {
	var page bytes.Buffer
	fmt.Fprintf(&page, introduction, "`", count(warmUpRequests))
	r.print(&page)
	charts := filepath.Join(dir, "soak")
	if err := os.MkdirAll(charts, 0o755); err != nil {
		return err
	}
	times := make([]time.Duration, len(r.samples))
	for i, s := range r.samples {
		times[i] = s.at
	}
	for name, c := range r.charts() {
		text, err := c.svg(times)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(charts, name+".svg"), text, 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"memory", "handles", "disk", "logs"} {
		fmt.Fprintf(&page, "\n![%s](soak/%s.svg)\n", r.charts()[name].Title, name)
	}
	return os.WriteFile(filepath.Join(dir, "soak.md"), page.Bytes(), 0o644)
}

// charts returns the charts by name.
func (r report) charts() map[string]chart {
	of := func(name string, value func(sample) float64) line {
		l := line{name: name}
		for _, s := range r.samples {
			l.values = append(l.values, value(s))
		}
		return l
	}
	folder := func(name string) line {
		return of(name, func(s sample) float64 { return s.folders[name] })
	}
	return map[string]chart{
		"memory": {"Memory in MB; dashed: bound of resident memory", mb, []line{
			of("resident", func(s sample) float64 { return s.rss }),
			of("DuckDB", func(s sample) float64 { return s.duckdb }),
			of("Go", func(s sample) float64 { return s.goMemory }),
			of("other", sample.other),
			of("malloc", func(s sample) float64 { return s.malloc }),
		}, r.options.memory.bytes() + memoryBeyondLimit},
		"handles": {"Open files, goroutines and threads", 1, []line{
			of("open files", func(s sample) float64 { return float64(s.files) }),
			of("goroutines", func(s sample) float64 { return float64(s.goroutines) }),
			of("threads", func(s sample) float64 { return float64(s.threads) }),
		}, 0},
		"disk": {"Disk in MB", mb, []line{
			of("whole folder", sample.disk), folder("warehouse"), folder("lake"), folder("published"), folder("tmp"),
		}, 0},
		"logs": {"Control database, logs of tenants and quarantine in MB", mb, []line{
			of("control database", func(s sample) float64 { return s.control }),
			of("logs of tenants", func(s sample) float64 { return s.wals }),
			folder("quarantine"),
			of("spilled", func(s sample) float64 { return s.spilled }),
		}, 0},
	}
}
