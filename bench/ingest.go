package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest/demo"
)

// Targets of the ingest.
const (
	targetIngest = 2.0    // × DuckDB alone
	targetAgain  = 0.5    // × the first time
	targetPeak   = 1024.0 // MiB
)

var tenantID = uuid.MustParse("be0c4000-0000-4000-8000-000000000001")

// A loaded is a data folder with one tenant of calls, and the file that the calls came from.
type loaded struct{ data, file string }

// path returns the path of the tenant's DuckDB file.
func (l *loaded) path() string {
	return filepath.Join(l.data, "warehouse", tenantID.String()+".duckdb")
}

// calls returns a file of n synthetic calls, oldest first. It writes the file if it does not exist.
func (b *bench) calls(n int) (file string, err error) {
	file = filepath.Join(b.dir, fmt.Sprintf("calls-%d.ndjson", n))
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	logf("generating %s calls", thousands(n))
	f, err := os.Create(file)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return file, demo.Tenant{ID: tenantID, Calls: n, Customers: n / 10}.WriteCalls(f)
}

// ingest measures a first load against DuckDB alone, and a second load of the same file.
func (b *bench) ingest(ctx context.Context) error {
	file, err := b.calls(b.rows)
	if err != nil {
		return err
	}
	var ours, alone, again, peaks, alonePeaks sample
	for i := range b.rounds {
		data, other := filepath.Join(b.dir, "data"), filepath.Join(b.dir, "alone")
		if err := os.Mkdir(other, 0o755); err != nil {
			return err
		}
		first, summary, err := b.voicoryIngest(ctx, data, file)
		if err != nil {
			return err
		}
		if summary.New != int64(b.rows) {
			return fmt.Errorf("first load: got %d new rows, want %d", summary.New, b.rows)
		}
		their, err := duckdbIngest(ctx, other, file)
		if err != nil {
			return err
		}
		second, summary, err := b.voicoryIngest(ctx, data, file)
		if err != nil {
			return err
		}
		if summary.New+summary.Changed != 0 || summary.Unchanged != int64(b.rows) {
			return fmt.Errorf("the same file again: %d new, %d changed, %d unchanged", summary.New, summary.Changed,
				summary.Unchanged)
		}
		logf("round %d: voicory %.1f s, DuckDB alone %.1f s, again %.1f s", i+1, first.took.Seconds(), their.took.Seconds(),
			second.took.Seconds())
		ours, alone, again = append(ours,
			first.took.Seconds()), append(alone, their.took.Seconds()), append(again, second.took.Seconds())
		peaks, alonePeaks = append(peaks, first.peak), append(alonePeaks, their.peak)
		if err := errors.Join(os.RemoveAll(data), os.RemoveAll(other)); err != nil {
			return err
		}
	}
	b.peak = slices.Max(peaks)
	n := thousands(b.rows)
	perSecond := func(s sample) string { return thousands(int(float64(b.rows) / s.median())) }

	ratios := ratioOfEach(ours, alone)
	b.table.add(row{"ingest of " + n + " calls, fresh folder, calls, turns and daily costs published",
		"DuckDB alone: CREATE TABLE AS FROM read_json, COPY of the three TO Parquet",
		fmt.Sprintf("≤ %g×", targetIngest),
		fmt.Sprintf("%.2f s against %.2f s; %s against %s rows/s", ours.median(), alone.median(), perSecond(ours),
			perSecond(alone)),
		result(ratios.ratio(), ratios.median() <= targetIngest)})
	b.table.add(row{"peak memory of that", "DuckDB alone, default settings", "≤ 1 GiB",
		fmt.Sprintf("%.0f MiB against %.0f MiB, the highest of each", b.peak, slices.Max(alonePeaks)),
		result(ratioOfEach(peaks, alonePeaks).ratio(), b.peak <= targetPeak)})
	ratios = ratioOfEach(again, ours)
	b.table.add(row{"the same " + n + " calls again, unchanged: 0 new, 0 changed", "the first time",
		fmt.Sprintf("≤ %g×", targetAgain),
		fmt.Sprintf("%.2f s against %.2f s; %s rows/s", again.median(), ours.median(), perSecond(again)),
		result(ratios.ratio(), ratios.median() <= targetAgain)})
	return nil
}

// doubleRows measures the memory of a load of twice the rows. The other sections use its tenant.
func (b *bench) doubleRows(ctx context.Context) error {
	before := len(b.table)
	if _, err := b.bigTenant(ctx); err != nil {
		return err
	}
	if len(b.table) == before {
		return errors.New("the tenant already exists, so its load cannot be measured")
	}
	return nil
}

// bigTenant returns the tenant of twice the rows. The first call creates it and adds the figures of that load to the
// table.
func (b *bench) bigTenant(ctx context.Context) (*loaded, error) {
	if b.big != nil {
		return b.big, nil
	}
	file, err := b.calls(2 * b.rows)
	if err != nil {
		return nil, err
	}
	big := &loaded{data: filepath.Join(b.dir, "big"), file: file}
	f, summary, err := b.voicoryIngest(ctx, big.data, file)
	if err != nil {
		return nil, err
	}
	if summary.New != int64(2*b.rows) {
		return nil, fmt.Errorf("load: got %d new rows, want %d", summary.New, 2*b.rows)
	}
	logf("%s calls: %.1f s", thousands(2*b.rows), f.took.Seconds())
	against, measured, ratio := "–", fmt.Sprintf("%.0f MiB", f.peak), "–" // if the section ingest was not run
	if b.peak > 0 {
		against, ratio = "an ingest of "+thousands(b.rows), fmt.Sprintf("%.2f×", f.peak/b.peak)
		measured += fmt.Sprintf(" against %.0f MiB", b.peak)
	}
	b.table.add(row{"peak memory of an ingest of " + thousands(2*b.rows) + " calls", against, "≤ 1 GiB",
		fmt.Sprintf("%s; %.2f s, %s rows/s", measured, f.took.Seconds(), thousands(int(float64(2*b.rows)/f.took.Seconds()))),
		result(ratio, f.peak <= targetPeak)})
	b.big = big
	return big, nil
}
