package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// A row is one line of the table.
type row struct{ work, against, target, measured, result string }

type table []row

func (t *table) add(r row) { *t = append(*t, r) }

func (t table) print(w io.Writer) {
	fmt.Fprintln(w, "| work | against | target | measured | ratio, result |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, r := range t {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", r.work, r.against, r.target, r.measured, r.result)
	}
}

// result returns the text of the last column: the figure, and whether it meets the target.
func result(figure string, within bool) string {
	if within {
		return figure + " ok"
	}
	return figure + " **MISSED**"
}

// A sample is a figure that was measured several times.
type sample []float64

func (s sample) median() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	half := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	}
	return sorted[half]
}

// percentile returns the smallest figure that at least p percent of the figures do not exceed.
func (s sample) percentile(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0)]
}

// ratio formats a sample of ratios: the median and the range.
func (s sample) ratio() string {
	return fmt.Sprintf("%.2f× (%.2f–%.2f)", s.median(), slices.Min(s), slices.Max(s))
}

// ratioOfEach returns the ratios of the pairs.
func ratioOfEach(ours, theirs sample) sample {
	ratios := make(sample, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return ratios
}

// differenceOfEach returns the differences of the pairs.
func differenceOfEach(ours, theirs sample) sample {
	differences := make(sample, len(ours))
	for i := range ours {
		differences[i] = ours[i] - theirs[i]
	}
	return differences
}

// timed runs f and adds the time that it took in milliseconds.
func (s *sample) timed(f func() error) error {
	start := time.Now()
	err := f()
	*s = append(*s, milliseconds(time.Since(start)))
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// thousands formats 1000000 as 1,000,000.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// describeMachine returns a line about the machine, the versions and the date.
func describeMachine(ctx context.Context) (line string, err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return "", fmt.Errorf("read the version of DuckDB: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var version string
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", fmt.Errorf("read the version of DuckDB: %w", err)
	}
	return fmt.Sprintf("%s/%s, %d cores, %s of memory, %s, DuckDB %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		totalMemory(), time.Now().UTC().Format(time.DateOnly), version, runtime.Version()), nil
}

// totalMemory returns the machine's memory, which is known on Linux only.
func totalMemory() string {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "an unknown amount"
	}
	var kib int64
	if _, err := fmt.Fscanf(bytes.NewReader(info), "MemTotal: %d kB", &kib); err != nil {
		return "an unknown amount"
	}
	return fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20))
}
