package main

import (
	"bytes"
	"context"
	_ "embed" // the scripts
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

// Targets of engines on the tables, relative to the same engine on the published files.
const (
	targetCatalog = 1.5
	targetSpark   = 1.0
)

//go:embed peers/scan.py
var scanScript string

//go:embed peers/spark.py
var sparkScript string

// tables measures a scan of all columns of all calls by DuckDB over the catalog and the S3 interface, against DuckDB on
// the published files. Each scan is that of a new process, so DuckDB has no file in its cache.
func (b *bench) tables(ctx context.Context) error {
	big, err := b.bigTenant(ctx)
	if err != nil {
		return err
	}
	python := filepath.Join(b.dir, "duckdb", "bin", "python")
	for _, command := range []*exec.Cmd{exec.CommandContext(ctx, "python3", "-m", "venv", filepath.Join(b.dir, "duckdb")),
		exec.CommandContext(ctx, python, "-m", "pip", "--quiet", "install", "duckdb==1.5.5",
			"duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5", "duckdb-extension-httpfs==1.5.5")} {
		if out, err := command.CombinedOutput(); err != nil {
			logf("skip the section tables, because DuckDB for Python cannot be installed: %v %.200s", err, out)
			return ctx.Err()
		}
	}
	key, err := secretKey(ctx, big.data)
	if err != nil {
		return err
	}
	lake := filepath.Join(big.data, "lake", "tenant_id="+tenantID.String(), "calls")
	var ours, files, served sample // seconds
	var oursUsed, filesUsed sample // processor time in seconds, ours with that of the server
	err = b.withServer(ctx, big.data, key, func(ctx context.Context, c *client) error {
		for i := range b.rounds + 1 { // the first round warms both
			before, err := processorTime(b.started)
			if err != nil {
				return err
			}
			our, err := scan(ctx, python, "catalog", c.url, key, tenantID.String())
			if err != nil {
				return err
			}
			after, err := processorTime(b.started)
			if err != nil {
				return err
			}
			their, err := scan(ctx, python, "files", lake)
			if err != nil {
				return err
			}
			logf("round %d: catalog %.2f s, files %.2f s; processor time %.2f s and %.2f s of the server, files %.2f s", i,
				our.Seconds, their.Seconds, our.CPU, after-before, their.CPU)
			if i > 0 {
				ours, files, served = append(ours, our.Seconds), append(files, their.Seconds), append(served, after-before)
				oursUsed, filesUsed = append(oursUsed, our.CPU+after-before), append(filesUsed, their.CPU)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	work := "full scan of " + thousands(2*b.rows) + " calls by DuckDB over the catalog and the S3 interface"
	against, target := "DuckDB on the published files", fmt.Sprintf("≤ %g×", targetCatalog)
	ratios, used := ratioOfEach(ours, files), ratioOfEach(oursUsed, filesUsed)
	b.table.add(row{work, against, target, fmt.Sprintf("%.2f s against %.2f s", ours.median(), files.median()),
		result(ratios.ratio(), ratios.median() <= targetCatalog)})
	b.table.add(row{"processor time of that, with the server's", against, target,
		fmt.Sprintf("%.2f s, %.2f s of it in the server, against %.2f s", oursUsed.median(), served.median(),
			filesUsed.median()), result(used.ratio(), used.median() <= targetCatalog)})
	return nil
}

// secretKey returns a new secret key of the tenant without a rate limit.
func secretKey(ctx context.Context, data string) (key string, err error) {
	w, err := warehouse.Open(ctx, warehouse.Options{Dir: data})
	if err != nil {
		return "", err
	}
	_, key, err = w.CreateKey(ctx, tenantID, control.Secret, control.KeySettings{Label: "bench", RateLimit: "none"})
	return key, errors.Join(err, w.Close())
}

// A scanResult is the output of scan.py.
type scanResult struct{ Seconds, CPU float64 }

func scan(ctx context.Context, python string, args ...string) (s scanResult, err error) {
	f, err := run(ctx, python, append([]string{"-c", scanScript}, args...)...)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(f.out, &s)
}

// spark measures ten queries of analysts by Spark on the tables of all tenants, against Spark on the published files.
// Each round first opens the tables and the files again, like a job that needs the newest rows. It uses the packages
// that `make engines` has downloaded.
func (b *bench) spark(ctx context.Context) error {
	work := fmt.Sprintf("Spark: opening and 10 queries of analysts, tables of %d tenants with %s calls", tenants,
		thousands(b.rows))
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	python := filepath.Join(cache, "voicory-test-python-pyspark==4.1.3", "bin", "python")
	java := filepath.Join(cache, "voicory-test-engines")
	for _, file := range []string{python, filepath.Join(java, "done")} {
		_, missing := os.Stat(file)
		if os.IsNotExist(missing) {
			b.table.add(row{work, "–", "–", "Spark is not installed (make engines)", "skipped"})
			return nil
		}
	}
	data, lines := filepath.Join(b.dir, "spark"), filepath.Join(b.dir, "tenants.calls.ndjson")
	if err := writeTenants(lines, func(t demo.Tenant, f *os.File) error {
		t.Calls, t.Customers = b.rows/tenants, b.rows/tenants/10
		return t.WriteCalls(f)
	}); err != nil {
		return err
	}
	if _, _, err := b.voicoryIngest(ctx, data, lines); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	token, tokenFile := uuid.NewString(), filepath.Join(b.dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return err
	}
	key, err := secretKey(ctx, data)
	if err != nil {
		return err
	}
	var queries []sparkQuery
	err = b.withServer(ctx, data, key, func(ctx context.Context, _ *client) error {
		f, err := run(ctx, python, "-c", sparkScript, "http://"+address, token, filepath.Join(data, "lake"), java,
			strconv.Itoa(b.rounds), strconv.Itoa(b.started))
		if err != nil {
			return err
		}
		_, found, _ := bytes.Cut(f.out, []byte("RESULT "))
		return json.Unmarshal(found, &queries)
	}, "--tables-listen", address, "--tables-token-file", tokenFile)
	if err != nil {
		return err
	}
	var tables, files, used, filesUsed, served sample // sums of a round
	for i, q := range queries {
		logf("%s: %.2f s, files %.2f s; processor time %.2f s and %.2f s of the server, files %.2f s", q.text,
			q.seconds[0], q.seconds[1], q.used[0], q.served[0], q.used[1])
		if i%(len(queries)/b.rounds) == 0 {
			tables, files, served = append(tables, 0), append(files, 0), append(served, 0)
			used, filesUsed = append(used, 0), append(filesUsed, 0)
		}
		last := len(tables) - 1
		tables[last], files[last] = tables[last]+q.seconds[0], files[last]+q.seconds[1]
		served[last] += q.served[0]
		used[last], filesUsed[last] = used[last]+q.used[0]+q.served[0], filesUsed[last]+q.used[1]
	}
	against, target := "Spark on the published files", fmt.Sprintf("≤ %g×", targetSpark)
	ratios, usedRatios := ratioOfEach(tables, files), ratioOfEach(used, filesUsed)
	b.table.add(row{work, against, target, fmt.Sprintf("%.1f s against %.1f s in all", tables.median(), files.median()),
		result(ratios.ratio(), ratios.median() <= targetSpark)})
	b.table.add(row{"processor time of that, with the server's", against, target,
		fmt.Sprintf("%.1f s, %.1f s of it in the server, against %.1f s", used.median(), served.median(), filesUsed.median()),
		result(usedRatios.ratio(), usedRatios.median() <= targetSpark)})
	return nil
}

// A sparkQuery is a query, or the opening, with its times in seconds, each on the tables and on the files.
type sparkQuery struct {
	text                  string
	seconds, used, served [2]float64
}

// UnmarshalJSON parses an element of the output of spark.py.
func (q *sparkQuery) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&q.text, &q.seconds, &q.used, &q.served})
}

// writeTenants creates a file and calls write for each tenant, which adds the rows of the tenant to the file.
func writeTenants(path string, write func(demo.Tenant, *os.File) error) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for n := range tenants {
		id := tenantID
		id[14], id[15] = byte(n>>8), byte(n)
		if err := write(demo.Tenant{ID: id}, f); err != nil {
			return err
		}
	}
	return nil
}
