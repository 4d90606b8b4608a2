package engines

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/httpapi"
	"github.com/voicory/warehouse/ingest/demo"
	"github.com/voicory/warehouse/internal/pythontest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

var (
	run    = flag.String("engines.run", "", "engines to run, separated by commas; all for all of them")
	report = flag.String("engines.report", "", "file for the table of results")
)

// An engine is a program that reads the tables, with the packages that its Python driver needs.
type engine struct {
	name, title string
	packages    []string
	java        bool
}

var clients = []string{"duckdb==1.5.5", "duckdb-extension-iceberg==1.5.5", "duckdb-extension-avro==1.5.5",
	"duckdb-extension-httpfs==1.5.5", "pyiceberg==0.12.0", "pyarrow==26.0.1", "polars==2.1.0", "chdb==4.4.0"}

var engines = []engine{
	{"duckdb", "DuckDB 1.5.5", clients, false}, {"pyiceberg", "PyIceberg 0.12.0", clients, false},
	{"polars", "Polars 2.1.0", clients, false}, {"clickhouse", "ClickHouse (chdb 4.4.0)", clients, false},
	{"spark", "Spark 4.1.3, Iceberg 1.12.0", []string{"pyspark==4.1.3"}, true}, {"trino", "Trino 476", clients, true},
}

// The Java packages of Spark and Trino, below the root of Maven's repository.
const maven = "https://repo1.maven.org/maven2/"

var javaPackages = []string{
	"org/apache/iceberg/iceberg-spark-runtime-4.1_2.13/1.12.0/iceberg-spark-runtime-4.1_2.13-1.12.0.jar",
	"org/apache/iceberg/iceberg-aws-bundle/1.12.0/iceberg-aws-bundle-1.12.0.jar",
	"io/trino/trino-server-core/476/trino-server-core-476.tar.gz",
	"io/trino/trino-iceberg/476/trino-iceberg-476.zip",
}

// java returns the folder with the Java packages, which later runs use again.
func java(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	warehousetest.NoError(t, err)
	dir := filepath.Join(cache, "voicory-test-engines")
	done := filepath.Join(dir, "done")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	warehousetest.NoError(t, os.MkdirAll(dir, 0o700))
	for _, path := range javaPackages {
		download(t, maven+path, filepath.Join(dir, filepath.Base(path)))
	}
	const extract = `cd "$0" && tar xzf trino-server-core-476.tar.gz && rm -rf trino-server-core-476/plugin/iceberg &&
		python3 -m zipfile -e trino-iceberg-476.zip trino-server-core-476/plugin &&
		mv trino-server-core-476/plugin/trino-iceberg-476 trino-server-core-476/plugin/iceberg`
	out, err := exec.CommandContext(t.Context(), "sh", "-c", extract, dir).CombinedOutput()
	if err != nil {
		t.Fatalf("extract the packages: %v: %s", err, out)
	}
	warehousetest.NoError(t, os.WriteFile(done, nil, 0o600))
	return dir
}

func download(t *testing.T, url, path string) {
	t.Helper()
	if _, err := os.Stat(path); err == nil {
		return
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	warehousetest.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	warehousetest.NoError(t, err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: got %s", url, response.Status)
	}
	file, err := os.Create(path + ".part")
	warehousetest.NoError(t, err)
	_, err = io.Copy(file, response.Body)
	warehousetest.NoError(t, err)
	warehousetest.NoError(t, file.Close())
	warehousetest.NoError(t, os.Rename(path+".part", path))
}

// A catalog is the tables of a tenant or those of all tenants, as the driver of an engine gets it.
type catalog struct {
	URL       string `json:"url"`
	Token     string `json:"token"`
	Namespace string `json:"namespace"`
	Lake      string `json:"lake"` // folder of the published files
	All       bool   `json:"all"`
}

// server serves the tables, and records the requests for data files.
type server struct {
	warehouse *warehouse.Warehouse
	catalogs  []catalog

	mu       sync.Mutex
	requests []request // guarded by mu
}

type request struct {
	at   time.Time
	path string
}

var tenantIDs = []uuid.UUID{uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000011"),
	uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000012"), uuid.MustParse("aaaaaaaa-0000-4000-8000-000000000013")}

// before is the time before which no row changes. Rows from then on are published while the engines read.
const before = "2027-01-01 00:00:00"

// movingCost is the cost of each call from before on.
const movingCost = 0.5

func start(t *testing.T) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{warehouse: warehousetest.Open(t, dir)}
	w := s.warehouse
	t.Cleanup(func() { warehousetest.NoError(t, w.Close()) })
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	options := httpapi.Options{Store: w, TableKey: w.SigningKey("table"), Log: log}
	const token = "the token of the operator of this test"
	operator, err := httpapi.NewOperatorTables(options, w, token)
	warehousetest.NoError(t, err)
	record := func(h http.Handler) string {
		recorder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/data/") {
				s.mu.Lock()
				s.requests = append(s.requests, request{time.Now(), r.URL.Path})
				s.mu.Unlock()
			}
			h.ServeHTTP(w, r)
		}))
		t.Cleanup(recorder.Close)
		return recorder.URL
	}
	url := record(httpapi.New(options))
	for i, tenant := range tenantIDs {
		rows := demo.Tenant{ID: tenant, Calls: 700 + 100*i, Customers: 100, Messages: 500}
		for _, part := range []struct {
			dataset schema.Dataset
			write   func(io.Writer) error
		}{{schema.Calls, rows.WriteCalls}, {schema.Customers, rows.WriteCustomers}, {schema.Messages, rows.WriteMessages}} {
			var lines bytes.Buffer
			warehousetest.NoError(t, part.write(&lines))
			warehousetest.Merge(t, w, part.dataset, strings.Split(strings.TrimSpace(lines.String()), "\n")...)
		}
		_, key, err := w.CreateKey(t.Context(), tenant, control.Secret, control.KeySettings{RateLimit: "none"})
		warehousetest.NoError(t, err)
		s.catalogs = append(s.catalogs, catalog{url, key, tenant.String(),
			filepath.Join(dir, "lake", "tenant_id="+tenant.String()), false})
	}
	s.catalogs = append(s.catalogs, catalog{record(operator), token, "all_tenants",
		filepath.Join(dir, "lake", "tenant_id=*"), true})
	s.publish(t.Context(), t, 0)
	return s
}

// publish publishes a call of each tenant.
func (s *server) publish(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	for _, tenant := range tenantIDs {
		warehousetest.Merge(t, s.warehouse, schema.Calls, warehousetest.Call(tenant, n,
			warehousetest.Row{"created_at": "2027-01-03T10:00:00Z", "cost": movingCost}))
	}
	if _, err := s.warehouse.Publish(ctx); err != nil && ctx.Err() == nil {
		t.Error(err)
	}
}

// files returns the names of the data files of calls that were requested between two times in Unix seconds.
func (s *server) files(from, to float64) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if at := float64(r.at.UnixMicro()) / 1e6; at >= from && at <= to && strings.Contains(r.path, "/calls/data/") {
			names = append(names, r.path)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// A result is the output of a driver.
type result struct {
	Seconds float64
	Tables  []struct {
		MonthFrom float64 `json:"month from"`
		MonthTo   float64 `json:"month to"`
		Month     []float64
		Long      []float64 // number of calls and their cost in a scan during which rows were published
		Again     []float64 // the same of a second scan in the transaction; nil: none
		Lasted    float64   // seconds; 0: the driver has waited for a publication
		Exports   map[string]struct {
			Figures []any // number of rows, sum of cost, minimum and maximum of the time
			Types   map[string]string
		}
	}
}

func (s *server) read(t *testing.T, e engine) (found result) {
	t.Helper()
	packages := ""
	if e.java {
		packages = java(t)
	}
	document, err := filepath.Abs("../../docs/tables.md")
	warehousetest.NoError(t, err)
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	warehousetest.NoError(t, err)
	port := free.Addr().(*net.TCPAddr).Port
	warehousetest.NoError(t, free.Close())
	settings, err := json.Marshal(map[string]any{"catalogs": s.catalogs, "java": packages, "document": document,
		"before": before, "trino port": port})
	warehousetest.NoError(t, err)
	command := exec.CommandContext(t.Context(), pythontest.Python(t, e.packages...), "engines.py", e.name,
		string(settings))
	var failures bytes.Buffer
	command.Stderr = &failures
	out, err := command.Output()
	_, text, ok := strings.Cut(string(out), "RESULT ")
	if err != nil || !ok {
		t.Fatalf("%s: %v: %.4000s", e.name, err, failures.String())
	}
	warehousetest.NoError(t, json.Unmarshal([]byte(text), &found))
	return found
}

// tally counts the checks of one kind.
type tally struct{ good, all int }

func (c *tally) count(good bool) {
	c.all++
	if good {
		c.good++
	}
}

func (c tally) String() string { return fmt.Sprintf("%d of %d", c.good, c.all) }

func near(a, b any) bool {
	x, isNumber := a.(float64)
	y, both := b.(float64)
	if isNumber && both {
		return math.Abs(x-y) < 1e-6*max(1, math.Abs(y))
	}
	return a == b
}

func TestEngines(t *testing.T) {
	if *run == "" {
		t.Skip("-engines.run is not given")
	}
	s := start(t)
	want := s.read(t, engine{"files", "", clients, false})
	ctx, cancel := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		every := time.NewTicker(time.Second)
		defer every.Stop()
		for n := 1; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-every.C:
				s.publish(ctx, t, n)
			}
		}
	})
	defer publishing.Wait()
	defer cancel()
	var lines []string
	for _, e := range engines {
		if *run == "all" || slices.Contains(strings.Split(*run, ","), e.name) {
			lines = append(lines, s.check(t, e, want))
		}
	}
	table := strings.Join(append([]string{
		"| engine | rows | sums of cost | first and last times | types of columns | one month | files read for it | " +
			"scan during publications | seconds |",
		"| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
	}, lines...), "\n") + "\n"
	fmt.Print(table)
	if *report != "" {
		warehousetest.NoError(t, os.WriteFile(*report, []byte(head()+table), 0o600))
	}
}

// check compares what the engine finds with what DuckDB has found in the files, and returns a line of the table.
func (s *server) check(t *testing.T, e engine, want result) string {
	t.Helper()
	got := s.read(t, e)
	var rows, sums, times, types, months, files, long tally
	read := map[bool]int{} // files of one month, by whether the tables are those of all tenants
	for n, table := range got.Tables {
		reference := want.Tables[n]
		for _, export := range schema.Exports {
			found, expected := table.Exports[export.Name], reference.Exports[export.Name]
			rows.count(near(found.Figures[0], expected.Figures[0]))
			if expected.Figures[1] != nil {
				sums.count(near(found.Figures[1], expected.Figures[1]))
			}
			for i := range 2 {
				times.count(near(found.Figures[2+i], expected.Figures[2+i]))
			}
			if !slices.EqualFunc(found.Figures, expected.Figures, near) {
				t.Errorf("%s: got %s %v, want %v", e.name, export.Name, found.Figures, expected.Figures)
			}
			for name, typ := range expected.Types {
				types.count(found.Types[name] == typ)
				if found.Types[name] != typ {
					t.Errorf("%s: %s.%s has the type %s, want %s", e.name, export.Name, name, found.Types[name], typ)
				}
			}
			types.count(len(found.Types) == len(expected.Types))
		}
		months.count(near(table.Month[0], reference.Month[0]) && near(table.Month[1], reference.Month[1]))
		names := s.files(table.MonthFrom, table.MonthTo)
		for _, name := range names {
			files.count(regexp.MustCompile(`-2026-03-[0-9a-f]+\.parquet$`).MatchString(name))
		}
		read[s.catalogs[n].All] = max(read[s.catalogs[n].All], len(names))
		if table.Long != nil {
			moved := table.Long[0] - reference.Long[0] // calls published since the files were read
			same := moved >= 0 && near(table.Long[1]-reference.Long[1], moved*movingCost)
			long.count(same && (table.Again == nil || slices.Equal(table.Long, table.Again)))
			if !same {
				t.Errorf("%s: got %v calls and cost, want those of one snapshot after %v", e.name, table.Long, reference.Long)
			}
		}
	}
	for name, c := range map[string]tally{"rows": rows, "sums": sums, "times": times, "types": types, "months": months,
		"files of a month": files, "long scans": long} {
		if c.good < c.all || c.all == 0 {
			t.Errorf("%s: %s: %s", e.name, name, c)
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %d, %d | %s | %.0f |", e.title, rows, sums, times, types, months,
		read[false], read[true], long, got.Seconds)
}

func head() string {
	return fmt.Sprintf(`# Engines

`+"`make engines`"+` has written this page on %s, on %d cores. Each engine has read the five tables of three tenants and
those of all tenants, with the examples of [tables.md](tables.md), while a call of each tenant was published every
second. The figures are compared with those of DuckDB on the published files. A table has a file for each of 12 months,
or one for each month and tenant.

- *Files read for it*: data files that the engine has requested for the sum of one month, from a tenant's table and from
  that of all tenants.
- *Scan during publications*: the rows and costs of calls belong to one snapshot, although at least one publication has
  replaced a file between the beginning and the end of the scan.

`, time.Now().Format(time.DateOnly), runtime.NumCPU())
}
