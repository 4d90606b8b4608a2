package main

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

const (
	monthCalls    = 150_000
	targetSmall   = 0.5 // × the earlier version
	targetOne     = 0.1 // × the earlier version
	targetCommits = 1.1 // × the publication alone
)

// earlierVersion is the name of the version in the table.
const earlierVersion = "the earlier version (-earlier)"

// publication measures publications of many small tenants and of one changed call in a large month, against an earlier
// version. Then it measures the metadata of tables.
func (b *bench) publication(ctx context.Context) error {
	if err := b.smallTenants(ctx); err != nil {
		return err
	}
	if err := b.changedCall(ctx); err != nil {
		return err
	}
	return b.commits(ctx)
}

// versions returns the binaries to compare: this version, and the earlier one if there is one.
func (b *bench) versions() []string {
	if b.earlier == "" {
		return []string{b.voicory}
	}
	return []string{b.voicory, b.earlier}
}

// smallTenants measures the publication of many tenants with few rows in all months of a year. It outdates the files
// after the ingest, so that the next one publishes all of them again, and almost nothing else.
func (b *bench) smallTenants(ctx context.Context) error {
	const months, each = 12, 8 // calls and messages of each tenant and month
	var files []string
	for _, dataset := range []struct {
		name  string
		write func(demo.Tenant, io.Writer) error
	}{{"calls", demo.Tenant.WriteCalls}, {"customers", demo.Tenant.WriteCustomers},
		{"messages", demo.Tenant.WriteMessages}} {
		path := filepath.Join(b.dir, "small."+dataset.name+".ndjson")
		err := writeTenants(path, func(t demo.Tenant, f *os.File) error {
			t.Calls, t.Messages, t.Customers = months*each, months*each, 2
			return dataset.write(t, f)
		})
		if err != nil {
			return err
		}
		files = append(files, path)
	}
	one := filepath.Join(b.dir, "one.calls.ndjson")
	used, published := map[string]sample{}, warehouse.Published{}
	for i := range b.rounds {
		for _, version := range b.versions() {
			data := filepath.Join(b.dir, "small")
			if err := os.RemoveAll(data); err != nil { // that of the last run stays for commits
				return err
			}
			whole, err := run(ctx, version, append([]string{"ingest", "--json", "--data", data}, files...)...)
			if err != nil {
				return err
			}
			if err := outdate(ctx, data); err != nil {
				return err
			}
			if err := copyLine(files[0], one); err != nil {
				return err
			}
			again, err := run(ctx, version, "ingest", "--json", "--data", data, one)
			if err != nil {
				return err
			}
			var first, second ingested
			if err := errors.Join(json.Unmarshal(whole.out, &first), json.Unmarshal(again.out, &second)); err != nil {
				return err
			}
			if second.Unchanged != 1 || second.Published != first.Published {
				return fmt.Errorf("%s: got %+v published again, want %+v", filepath.Base(version), second.Published,
					first.Published)
			}
			published = second.Published
			used[version] = append(used[version], again.used.Seconds())
			logf("round %d: %d small tenants with %s: ingest %.1f s of processor time, publication %.1f s", i+1, tenants,
				filepath.Base(version), whole.used.Seconds(), again.used.Seconds())
		}
	}
	b.addVersions(fmt.Sprintf("publication of %d tenants with %d rows in %d months each, %s files", tenants,
		2*months*each+2, months, thousands(published.Files)), targetSmall, "%.1f s", "of processor time", used)
	return nil
}

// ingested is the output of `voicory ingest`.
type ingested struct {
	ingest.Summary
	Published warehouse.Published
}

// outdate makes the next process publish every file of a data folder again, as after an upgrade.
func outdate(ctx context.Context, data string) error {
	stores, err := filepath.Glob(filepath.Join(data, "warehouse", "*.duckdb"))
	if err != nil {
		return err
	}
	for _, store := range stores {
		if err := withFile(ctx, store, func(db *sql.DB) error {
			_, err := db.ExecContext(ctx, "UPDATE published_files SET format = 0")
			return err
		}); err != nil {
			return err
		}
	}
	path := filepath.Join(data, "voicory.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var mark map[string]any
	if err := json.Unmarshal(text, &mark); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	delete(mark, "published_format")
	if text, err = json.Marshal(mark); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// copyLine writes the first line of a file to another one.
func copyLine(from, to string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return err
	}
	return os.WriteFile(to, line, 0o600)
}

// addVersions adds a row with the figures of this version and the earlier one.
func (b *bench) addVersions(work string, target float64, format, unit string, figures map[string]sample) {
	ours, theirs := figures[b.voicory], figures[b.earlier]
	if theirs == nil {
		b.table.add(row{work, "–", "–", fmt.Sprintf(format+" "+unit, ours.median()), "–"})
		return
	}
	ratios := ratioOfEach(ours, theirs)
	b.table.add(row{work, earlierVersion, fmt.Sprintf("≤ %g×", target),
		fmt.Sprintf(format+" against "+format+" "+unit, ours.median(), theirs.median()),
		result(ratios.ratio(), ratios.median() <= target)})
}

// changedCall measures ingests of one changed call, the last one of a large month.
func (b *bench) changedCall(ctx context.Context) error {
	file := filepath.Join(b.dir, "month.calls.ndjson")
	call, err := writeMonth(file)
	if err != nil {
		return err
	}
	used, written := map[string]sample{}, map[string]sample{}
	for _, version := range b.versions() {
		data := filepath.Join(b.dir, "month")
		if _, err := run(ctx, version, "ingest", "--json", "--data", data, file); err != nil {
			return err
		}
		for i := range b.rounds + 1 { // the first round finds the files of a bulk load, and changes their layout
			changed := filepath.Join(b.dir, "changed.calls.ndjson")
			call["cost"] = json.RawMessage(b.nextCost())
			text, err := json.Marshal(call)
			if err != nil {
				return err
			}
			if err := os.WriteFile(changed, text, 0o600); err != nil {
				return err
			}
			f, err := run(ctx, version, "ingest", "--json", "--data", data, changed)
			if err != nil {
				return err
			}
			if !bytes.Contains(f.out, []byte(`"changed": 1,`)) {
				return fmt.Errorf("%s: got %s, want 1 changed row", filepath.Base(version), f.out)
			}
			logf("round %d: a changed call with %s: %.2f s of processor time, %.1f MB", i, filepath.Base(version),
				f.used.Seconds(), f.written)
			if i > 0 {
				used[version] = append(used[version], f.used.Seconds())
				written[version] = append(written[version], f.written)
			}
		}
		if err := os.RemoveAll(data); err != nil {
			return err
		}
	}
	work := "ingest and publication of one changed call in a month of " + thousands(monthCalls)
	b.addVersions(work, targetOne, "%.2f s", "of processor time", used)
	b.addVersions("written to files for that", targetOne, "%.1f MB", "", written)
	return os.Remove(file)
}

// writeMonth writes the calls of one month, and returns the last one.
func writeMonth(path string) (last map[string]json.RawMessage, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	rows, in := io.Pipe()
	defer func() { _ = rows.Close() }() // ends the generator
	const yearly = monthCalls * 365 / 29
	go func() { in.CloseWithError(demo.Tenant{ID: tenantID, Calls: yearly, Customers: 100}.WriteCalls(in)) }()
	lines, out := bufio.NewReader(rows), bufio.NewWriter(f)
	var line []byte
	for range monthCalls {
		if line, err = lines.ReadBytes('\n'); err != nil {
			return nil, err
		}
		if _, err := out.Write(line); err != nil {
			return nil, err
		}
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	return last, json.Unmarshal(line, &last)
}

// commits measures the cost of the metadata of tables after a publication. A publication does not write metadata: they
// are derived when they are requested. So the figure compares the time of a publication and of the first load of each
// changed table with the time of the publication alone. It changes one call of each small tenant.
func (b *bench) commits(ctx context.Context) (err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: filepath.Join(b.dir, "small")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	calls, err := lastCallOfEach(filepath.Join(b.dir, "small.calls.ndjson"))
	if err != nil {
		return err
	}
	metadata := iceberg.NewTables(w, time.Now)
	var published, loaded, both sample
	for i := range b.rounds + 1 { // the first round reads the footers of the files that do not change, too
		for tenant, call := range calls {
			lines, err := linesOf([]map[string]json.RawMessage{call}, b.nextCost())
			if err != nil {
				return err
			}
			staged, err := w.Stage(ctx, warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: "changed",
				Rows: warehouse.Lines{Reader: lines}})
			lines.Release()
			if err == nil {
				_, _, err = staged.Merge(ctx)
			}
			if err != nil {
				return err
			}
		}
		publication, err := usedBy(func() error {
			_, err := w.Publish(ctx)
			return err
		})
		if err != nil {
			return err
		}
		first, err := usedBy(func() error {
			for tenant := range calls {
				if err := loadTables(ctx, metadata, tenant); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		logf("round %d: publication %.0f ms, tables %.0f ms of processor time", i, publication, first)
		if i > 0 {
			published, loaded = append(published, publication), append(loaded, first)
			both = append(both, publication+first)
		}
	}
	ratios, n := ratioOfEach(both, published), float64(len(calls))
	b.table.add(row{"publication of one changed call, and the first load of its 3 changed Iceberg tables",
		"the publication alone", fmt.Sprintf("≤ %g×", targetCommits),
		fmt.Sprintf("%.1f ms and %.1f ms of processor time for each of %d tenants", published.median()/n,
			loaded.median()/n, len(calls)), result(ratios.ratio(), ratios.median() <= targetCommits)})
	return nil
}

// usedBy returns the processor time in milliseconds that this process uses during f.
func usedBy(f func() error) (float64, error) {
	var before, after syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	if err == nil {
		err = f()
	}
	if err == nil {
		err = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	}
	return milliseconds(usedTime(&after) - usedTime(&before)), err
}

// lastCallOfEach returns the last call of each tenant in a file.
func lastCallOfEach(file string) (map[uuid.UUID]map[string]json.RawMessage, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	calls, rows := map[uuid.UUID]map[string]json.RawMessage{}, json.NewDecoder(bufio.NewReader(f))
	for {
		var call map[string]json.RawMessage
		if err := rows.Decode(&call); errors.Is(err, io.EOF) {
			return calls, nil
		} else if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		var tenant uuid.UUID
		if err := json.Unmarshal(call["user_id"], &tenant); err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		calls[tenant] = call
	}
}

// loadTables derives the metadata, the manifest list and the manifest of the tables that a changed call changes.
func loadTables(ctx context.Context, tables *iceberg.Tables, tenant uuid.UUID) error {
	for _, name := range []string{"calls", "transcript_turns", "cost_daily"} {
		export := schema.MustExport(name)
		table, err := tables.Load(ctx, tenant, export, "s3://bench/"+tenant.String()+"/"+name)
		if err != nil {
			return err
		}
		var metadata struct {
			Snapshots []struct {
				List string `json:"manifest-list"`
			}
		}
		if err := json.Unmarshal(table.Metadata(true), &metadata); err != nil {
			return fmt.Errorf("read the metadata of %s: %w", name, err)
		}
		list := metadata.Snapshots[0].List
		// The manifest of the snapshot is derived with its list.
		if _, _, err := tables.Metadata(ctx, table, strings.TrimPrefix(list, table.Location+"/")); err != nil {
			return err
		}
	}
	return nil
}
