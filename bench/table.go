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

// row is one line of the table.
type row struct{ work, against, reach, measured, verdict string }

type table []row

func (t *table) add(r row) { *t = append(*t, r) }

func (t table) print(w io.Writer) {
	fmt.Fprintln(w, "| work | against | reach | measured | ratio, verdict |")
	fmt.Fprintln(w, "|---|---|---|---|---|")
	for _, r := range t {
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", r.work, r.against, r.reach, r.measured, r.verdict)
	}
}

// verdict is the last column: what the reach is about, and whether it is within.
func verdict(figure string, within bool) string {
	if within {
		return figure + " ok"
	}
	return figure + " **MISSED**"
}

// sample is one figure, measured several times.
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

// percentile is the smallest figure that p of 100 figures are not above.
func (s sample) percentile(p float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(int(math.Ceil(p/100*float64(len(sorted))))-1, 0)]
}

// ratio shows a sample of ratios: its median and its bounds.
func (s sample) ratio() string {
	return fmt.Sprintf("%.2f× (%.2f–%.2f)", s.median(), slices.Min(s), slices.Max(s))
}

// each divides pair by pair.
func each(ours, theirs sample) sample {
	ratios := make(sample, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return ratios
}

// added is how much more ours is in each pair.
func added(ours, theirs sample) sample {
	differences := make(sample, len(ours))
	for i := range ours {
		differences[i] = ours[i] - theirs[i]
	}
	return differences
}

// timed runs f and adds the milliseconds it took.
func (s *sample) timed(f func() error) error {
	start := time.Now()
	err := f()
	*s = append(*s, milliseconds(time.Since(start)))
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// thousands writes 1000000 as 1,000,000.
func thousands(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// describeMachine says where and when the figures were made.
func describeMachine(ctx context.Context) (line string, err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return "", fmt.Errorf("ask DuckDB for its version: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var version string
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", fmt.Errorf("ask DuckDB for its version: %w", err)
	}
	return fmt.Sprintf("%s/%s, %d cores, %s of memory, %s, DuckDB %s, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(),
		totalMemory(), time.Now().UTC().Format(time.DateOnly), version, runtime.Version()), nil
}

// totalMemory is the machine's; only Linux says it in a file.
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
