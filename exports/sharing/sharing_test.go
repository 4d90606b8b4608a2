package sharing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/exports/iceberg"
	"github.com/voicory/warehouse/exports/sharing"
	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// files returns the months and the statistics of the files that the hints do not leave out.
func files(t *testing.T, tables *iceberg.Tables, export string, hints sharing.Hints) (names []string,
	statistics []map[string]any) {
	t.Helper()
	found, err := schema.ExportNamed(export)
	warehousetest.NoError(t, err)
	table, err := tables.Load(t.Context(), warehousetest.TenantA, found, "s3://b/t")
	warehousetest.NoError(t, err)
	snapshots := table.Snapshots()
	r := sharing.Response{Table: table, Snapshot: snapshots[len(snapshots)-1], Format: sharing.Parquet}
	lines, err := r.Files(t.Context(), tables, hints, func(name string) (string,
		time.Time) {
		return "https://example.com/" + name, time.Now()
	})
	warehousetest.NoError(t, err)
	for line := range bytes.Lines(lines) {
		var file struct{ File struct{ URL, Stats string } }
		warehousetest.NoError(t, json.Unmarshal(line, &file))
		var of map[string]any
		warehousetest.NoError(t, json.Unmarshal([]byte(file.File.Stats), &of))
		names, statistics = append(names, strings.TrimPrefix(file.File.URL, "https://example.com/"+export)[1:8]),
			append(statistics, of)
	}
	return names, statistics
}

func TestFiles_HintsAndStatistics(t *testing.T) {
	w := warehousetest.Open(t, warehousetest.EmptyFolder(t))
	tables := iceberg.NewTables(w, time.Now)
	if names, _ := files(t, tables, "calls", sharing.Hints{}); len(names) != 0 {
		t.Errorf("got files %s before the first publication", names)
	}
	var lines []string
	for month := 1; month <= 4; month++ {
		for n := range 3 {
			lines = append(lines, fmt.Sprintf(
				`{"user_id":%q,"id":%q,"status":"failed","cost":%d.1234,"duration":%d,"transcript":[{"role":"user","message":"hi"}],"created_at":"2026-%02d-1%dT12:00:00.123456Z"}`,
				warehousetest.TenantA, warehousetest.ID(10*month+n), -month, month, month, n))
		}
	}
	warehousetest.Merge(t, w, schema.Calls, lines...)
	_, err := w.Publish(t.Context())
	warehousetest.NoError(t, err)
	limit := func(n int64) *int64 { return &n }
	year := []string{"2026-01", "2026-02", "2026-03", "2026-04"}
	for name, test := range map[string]struct {
		hints sharing.Hints
		want  []string
	}{
		"none": {sharing.Hints{}, year},
		"time": {sharing.Hints{SQL: []string{"created_at >= '2026-02-01T00:00:00Z'",
			"created_at < '2026-04-01T00:00:00Z'"}}, year[1:3]},
		"number":                     {sharing.Hints{SQL: []string{"duration = 3"}}, year[2:3]},
		"decimal":                    {sharing.Hints{SQL: []string{"cost < -2"}}, year[1:]},
		"nothing matches":            {sharing.Hints{SQL: []string{"status = 'answered'"}}, nil},
		"one hint is not understood": {sharing.Hints{SQL: []string{"x y z", "duration = 3"}}, year[2:3]},
		"SQL and JSON": {sharing.Hints{SQL: []string{"duration >= 2"},
			JSON: `{"op":"lessThan","children":[{"op":"column","name":"duration","valueType":"int"},{"op":"literal","value":"4","valueType":"int"}]}`}, year[1:3]},
		"limit of no rows":         {sharing.Hints{Limit: limit(0)}, nil},
		"limit of one file":        {sharing.Hints{Limit: limit(3)}, year[:1]},
		"limit of a row more":      {sharing.Hints{Limit: limit(4)}, year[:2]},
		"limit of all rows":        {sharing.Hints{Limit: limit(1000)}, year},
		"limit of rows that match": {sharing.Hints{SQL: []string{"duration >= 2"}, Limit: limit(3)}, year[1:2]},
		"limit of rows that may match": {sharing.Hints{SQL: []string{"created_at >= '2026-02-11T00:00:00Z'"},
			Limit: limit(3)}, year[1:3]},
		"limit with an unknown hint": {sharing.Hints{SQL: []string{"x y z"}, Limit: limit(3)}, year},
	} {
		if got, _ := files(t, tables, "calls", test.hints); !slices.Equal(got, test.want) {
			t.Errorf("%s: got files %s, want %s", name, got, test.want)
		}
	}
	_, statistics := files(t, tables, "calls", sharing.Hints{})
	got := statistics[1]
	for path, want := range map[string]string{
		"numRecords": "3", "nullCount.cost": "0", "nullCount.started_at": "3", "nullCount.transcript": "<nil>",
		"minValues.created_at": "2026-02-10T12:00:00.123Z", "maxValues.created_at": "2026-02-12T12:00:00.124Z",
		"minValues.cost": "-2.1234", "maxValues.cost": "-2.1234", "minValues.duration": "2", "maxValues.status": "failed",
		"minValues.id": warehousetest.ID(20)[:16], "minValues.started_at": "<nil>",
	} {
		group, name, nested := strings.Cut(path, ".")
		value := got[group]
		if nested {
			value = value.(map[string]any)[name]
		}
		if fmt.Sprint(value) != want {
			t.Errorf("%s: got %v, want %s", path, value, want)
		}
	}
	_, statistics = files(t, tables, "cost_daily", sharing.Hints{})
	if day := statistics[0]["minValues"].(map[string]any)["day"]; day != "2026-01-10" {
		t.Errorf("got the first day %v", day)
	}
}

func TestSchemaString_HasTheColumnsOfEachExport(t *testing.T) {
	for _, export := range schema.Exports {
		var s struct {
			Type   string
			Fields []struct {
				Name     string
				Type     any
				Nullable bool
				Metadata map[string]string
			}
		}
		warehousetest.NoError(t, json.Unmarshal([]byte(sharing.SchemaString(export)), &s))
		if s.Type != "struct" || len(s.Fields) != len(export.Columns) {
			t.Fatalf("%s: got %+v", export.Name, s)
		}
		for i, column := range export.Columns {
			f := s.Fields[i]
			if f.Name != column.Name || !f.Nullable || f.Metadata["comment"] != column.Comment() || f.Type == nil {
				t.Errorf("%s: got field %+v for column %+v", export.Name, f, column)
			}
		}
	}
}
