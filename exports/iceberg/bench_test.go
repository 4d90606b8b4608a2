package iceberg_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// benchTable measures load, which returns the metadata of a table and a function that returns other objects. It reports
// the processor time, which other programs on the machine change less than the time, and the sizes of the objects.
// lists is the number of entries of the manifest list, and files that of the manifest; 0: it is not read.
func benchTable(b *testing.B, lists, files int, load func() (text []byte, object func(key string) []byte)) {
	b.Helper()
	var m tableMetadata
	var text, list, manifest []byte
	before := cpuTime(b)
	for b.Loop() {
		var object func(key string) []byte
		text, object = load()
		warehousetest.NoError(b, json.Unmarshal(text, &m))
		key := m.key(m.Snapshots[len(m.Snapshots)-1].ManifestList)
		list = object(key)
		if files > 0 {
			manifest = object(strings.Replace(strings.Replace(key, "snap-", "", 1), ".avro", "-m0.avro", 1))
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(len(text)), "B/metadata")
	b.ReportMetric(float64(len(list))/float64(lists), "B/manifest-of-list")
	if files > 0 {
		b.ReportMetric(float64(len(manifest))/float64(files), "B/file-of-manifest")
	}
}

// cpuTime returns the processor time of this process.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	warehousetest.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkTables loads the table of a tenant with its manifests: with the statistics of its files in memory, and
// from the footers.
func BenchmarkTables(b *testing.B) {
	for _, months := range []int{12, 120} {
		w := warehousetest.OpenNew(b)
		var rows []warehousetest.Row
		for month := range months {
			rows = append(rows, warehousetest.Call(warehousetest.TenantA, month+1, warehousetest.Row{
				"created_at": time.Date(2015, time.Month(month+1), 3, 0, 0, 0, 0, time.UTC).Format(time.RFC3339)}))
		}
		warehousetest.Merge(b, w, schema.Calls, rows...)
		_, err := w.Publish(b.Context())
		warehousetest.NoError(b, err)
		known := iceberg.NewTables(w, time.Now)
		for name, tables := range map[string]func() *iceberg.Tables{
			"known": func() *iceberg.Tables { return known },
			"new":   func() *iceberg.Tables { return iceberg.NewTables(w, time.Now) },
		} {
			b.Run(fmt.Sprintf("files=%d/%s", months, name), func(b *testing.B) {
				benchTable(b, 1, months, func() ([]byte, func(string) []byte) {
					of := tables()
					table, err := of.Load(b.Context(), warehousetest.TenantA, schema.MustExport("calls"), "s3://b/t")
					warehousetest.NoError(b, err)
					return table.Metadata(false), func(key string) []byte {
						content, _, err := of.Metadata(b.Context(), table, key)
						warehousetest.NoError(b, err)
						return content
					}
				})
			})
		}
	}
}

// BenchmarkUnion loads the table of all tenants: for the first time, and again.
func BenchmarkUnion(b *testing.B) {
	const tenants = 50
	w := warehousetest.OpenNew(b)
	for n := range tenants {
		warehousetest.Merge(b, w, schema.Calls, warehousetest.Call(uuid.NewSHA1(warehousetest.TenantA, []byte{byte(n)}), n+1,
			warehousetest.Row{"created_at": "2026-03-01T00:00:00Z"}))
	}
	_, err := w.Publish(b.Context())
	warehousetest.NoError(b, err)
	open := func() *iceberg.Union {
		return iceberg.NewUnion(w, schema.MustExport("calls"), "s3://b/all/calls", time.Now)
	}
	known := open()
	for name, union := range map[string]func() *iceberg.Union{"first": open,
		"again": func() *iceberg.Union { return known }} {
		b.Run(fmt.Sprintf("tenants=%d/%s", tenants, name), func(b *testing.B) {
			benchTable(b, tenants, 0, func() ([]byte, func(string) []byte) {
				u := union()
				_, text, err := u.Load(b.Context(), false)
				warehousetest.NoError(b, err)
				return text, func(key string) []byte {
					content, _, err := u.Metadata(b.Context(), key)
					warehousetest.NoError(b, err)
					return content
				}
			})
		})
	}
}
