package httpapi_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// extremes are the values of each numeric type of a field at which sums and differences overflow.
var extremes = map[string][]any{
	"INTEGER":       {math.MinInt32, math.MaxInt32},
	"BIGINT":        {math.MinInt64, math.MaxInt64},
	"DECIMAL(10,4)": {-999999.9999, 999999.9999},
	"DOUBLE":        {-math.MaxFloat64, math.MaxFloat64, math.SmallestNonzeroFloat64},
}

// extremeRows returns rows of the dataset in which each numeric field has each pair of its extreme values on one day,
// and the number of numeric fields.
func extremeRows(t *testing.T, dataset schema.Dataset) (rows []string, fields int) {
	t.Helper()
	export, err := schema.ExportNamed(dataset.Name)
	noError(t, err)
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	add := func(fields map[string]any) {
		row := map[string]any{"user_id": mine, "id": uuid.New(), "created_at": day, "status": "completed",
			"direction": "outbound", "to_number": "+15550100", "started_at": day}
		for name, value := range fields {
			row[name] = value
		}
		text, err := json.Marshal(row)
		noError(t, err)
		rows = append(rows, string(text))
	}
	for _, column := range export.Columns {
		typ, _ := dataset.FieldType(column.Name)
		if extremes[typ] == nil {
			continue
		}
		fields++
		for _, first := range extremes[typ] {
			for _, second := range extremes[typ] {
				add(map[string]any{column.Name: first})
				add(map[string]any{column.Name: second})
				day = day.AddDate(0, 0, 1)
			}
		}
	}
	if dataset.Name == schema.Calls.Name {
		for _, duration := range []any{-1e308, 1e308, "9999999999999999999h", "99:99:99"} {
			add(map[string]any{"duration": duration})
		}
		for _, at := range extremes["BIGINT"] {
			for _, next := range extremes["BIGINT"] {
				add(map[string]any{"transcript": []map[string]any{
					{"speaker": "AI", "text": "hello", "timestamp_ms": at},
					{"speaker": "Caller", "text": "hello", "timestamp_ms": next}, {"speaker": "AI", "timestamp_ms": at}}})
			}
		}
		add(map[string]any{"metadata": map[string]any{"cost_breakdown": map[string]any{
			"stt": 9999999999, "llm": 1e300, "tts": -1e300, "other": 9999999999.9, "another": 9999999999.9}}})
	}
	return rows, fields
}

// Extreme values are published, and every answer about them is complete and has finite numbers: SQL over each export,
// streams, and all analytics.
func TestExtremeValues_EveryAnswerIsComplete(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	for _, dataset := range schema.Datasets {
		rows, fields := extremeRows(t, dataset)
		if fields == 0 && dataset.Name != schema.Messages.Name {
			t.Errorf("%s: got no numeric fields", dataset.Name)
		}
		if len(rows) > 0 {
			merge(t, b.warehouse, dataset, rows...)
		}
	}
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	for _, export := range schema.Exports {
		stream := b.stream(t, export.Name+"?format=ndjson")
		lines := bytes.Split(bytes.TrimSpace([]byte(stream.body)), []byte("\n"))
		for _, line := range lines {
			if !json.Valid(line) {
				t.Errorf("stream of %s: got invalid JSON %s", export.Name, line)
			}
		}
		for _, format := range []string{"csv", "json"} {
			got := b.sql(t, b.secret, fmt.Sprintf(`{"sql": "FROM %s", "format": %q}`, export.Name, format))
			if want := fmt.Sprint(len(lines)); got.status != 200 || got.header.Get("X-Row-Count") != want {
				t.Errorf("SQL over %s as %s: got %s rows, want %s: %s", export.Name, format, got.header.Get("X-Row-Count"),
					want, got.body[:min(len(got.body), 400)])
			}
		}
	}
	got := b.sql(t, b.secret, `{"sql": "SELECT sum(tts_characters), sum(cost), sum(seconds) FROM cost_daily UNION ALL `+
		`SELECT sum(tts_characters), sum(nullif(cost, 0)), sum(duration_seconds) FROM calls", "format": "csv"}`)
	sums, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	noError(t, err)
	if len(sums) != 3 || fmt.Sprint(sums[1]) != fmt.Sprint(sums[2]) {
		t.Errorf("sums of cost_daily and of calls: got %v, want the same", sums)
	}
	for _, report := range analytics.Reports {
		for _, query := range []string{"", "?interval=day", "?group_by=status", "?interval=month&group_by=customer"} {
			b.report(t, report.Name+query)
		}
		for _, format := range []string{"csv", "parquet", "arrow"} {
			target := "/api/v1/analytics/" + report.Name + "?interval=day&format=" + format
			if got := b.ask(t, "GET", target, b.secret); got.status != 200 {
				t.Errorf("%s: got status %d: %s", target, got.status, got.body)
			}
		}
	}
}

// breakPublishing replaces the tenant's folder in the lake by a file, so that publishing the tenant fails until repair
// is called.
func breakPublishing(t *testing.T, data string, tenant uuid.UUID) (repair func()) {
	t.Helper()
	lake, aside := filepath.Join(data, "lake", "tenant_id="+tenant.String()), filepath.Join(data, "tmp", tenant.String())
	noError(t, os.Rename(lake, aside))
	noError(t, os.WriteFile(lake, nil, 0o600))
	return func() {
		noError(t, os.Remove(lake))
		noError(t, os.Rename(aside, lake))
	}
}

// If the newest rows of a tenant could not be published, its SQL and its lists of files say so instead of lacking rows.
func TestPublishing_FailureMakesSQLAndFilesUnavailable(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	repair := breakPublishing(t, b.warehouse.Dir(), mine)
	merge(t, b.warehouse, schema.Calls, fmt.Sprintf(`{"user_id":%q,"id":%q,"created_at":"2026-07-01"}`, mine, id(777)))
	if _, err := b.warehouse.Publish(t.Context()); err == nil {
		t.Fatal("got no error of publishing into a folder that is a file")
	}
	sql := `{"sql": "SELECT count(*) FROM calls", "format": "csv"}`
	for target, got := range map[string]answer{
		"SQL":     b.sql(t, b.secret, sql),
		"exports": b.ask(t, "GET", "/api/v1/exports", b.secret),
		"files":   b.ask(t, "GET", "/api/v1/exports/calls/files", b.secret),
	} {
		if got.status != 503 || code(got.body) != "PUBLISHING_FAILED" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s: got %v, want 503 PUBLISHING_FAILED", target, got)
		}
	}
	if got := b.sql(t, b.another, sql); got.status != 200 || got.body != "count_star()\n1\n" {
		t.Errorf("SQL of another tenant: got %v", got)
	}
	repair()
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)
	if got := b.sql(t, b.secret, sql); got.status != 200 || got.body != "count_star()\n61\n" {
		t.Errorf("after the repair: got %v", got)
	}
}
