package httpapi_test

import (
	"cmp"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	_ "github.com/duckdb/duckdb-go/v2"

	"github.com/voicory/warehouse/warehouse/analytics"
)

// Figures are the same in every format: as tables, another reader finds in them what the JSON says.
func TestAnalytics_Tables(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "SET TimeZone = 'UTC'")
	noError(t, err)
	const target = "costs?interval=day&group_by=status,day_of_week&compare=previous_period" +
		"&from=2026-03-01&to=2026-03-20&timezone=Asia/Kolkata"
	want := ""
	all := b.report(t, target)
	for i, rows := range [][]map[string]any{all.Data, all.Previous.Data} {
		for _, row := range rows {
			group := row["group"].(map[string]any)
			want += fmt.Sprintln(i > 0, row["period"], group["status"], group["day_of_week"], row["calls"],
				cmp.Or(row["cost"], any("NULL")))
		}
	}
	if len(all.Data) == 0 || len(all.Previous.Data) == 0 {
		t.Fatal("there is nothing to compare")
	}
	for format, reader := range map[string]string{"csv": "read_csv", "ndjson": "read_json", "parquet": "read_parquet"} {
		got := b.ask(t, "GET", "/api/v1/analytics/"+target+"&format="+format, b.secret)
		at, err := time.Parse(time.RFC3339, got.header.Get("X-As-Of"))
		if name := `attachment; filename="costs_from-2026-02-28_to-2026-03-20_` + at.Format("20060102T150405Z") + "." +
			format + `"`; err != nil || got.status != 200 || got.header.Get("Content-Disposition") != name {
			t.Fatalf("%s: %d %v", format, got.status, got.header)
		}
		path := filepath.Join(t.TempDir(), "figures."+format)
		noError(t, os.WriteFile(path, []byte(got.body), 0o600))
		var have string
		noError(t, db.QueryRowContext(t.Context(),
			`SELECT string_agg(concat_ws(' ', previous, period, status, day_of_week, calls, coalesce(cost::DOUBLE::VARCHAR, 'NULL')) || chr(10), '' ORDER BY n)
			FROM (SELECT *, row_number() OVER () AS n FROM `+reader+`('`+path+`'))`).Scan(&have))
		if have != want {
			t.Errorf("%s:\n%s\nnot\n%s", format, have, want)
		}
	}
	got := b.ask(t, "GET", "/api/v1/analytics/"+target, b.secret, "Accept", "application/vnd.apache.arrow.stream")
	reader, err := ipc.NewReader(strings.NewReader(got.body))
	noError(t, err)
	defer reader.Release()
	schema := reader.Schema().String()
	for _, field := range []string{"previous: type=bool", "period: type=date32", "status: type=utf8",
		"day_of_week: type=int64", "calls: type=int64", "cost: type=decimal", "components: type=struct"} {
		if !strings.Contains(schema, field) {
			t.Errorf("no %s in %s", field, schema)
		}
	}
	rows := 0
	for reader.Next() {
		rows += int(reader.RecordBatch().NumRows())
	}
	if err := reader.Err(); err != nil || rows != strings.Count(want, "\n") {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// Every report is a table in every format. By hours, by weeks with all groups, and without rows, it is one in one of
// the formats.
func TestAnalytics_EveryReportAsTable(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	begins := map[string]string{"text/csv": "", "application/x-ndjson": "", "application/vnd.apache.parquet": "PAR1",
		"application/vnd.apache.arrow.stream": "\xff\xff\xff\xff"}
	kinds := slices.Sorted(maps.Keys(begins))
	for i, report := range analytics.Reports {
		check := func(query, kind string) {
			got := b.ask(t, "GET", "/api/v1/analytics/"+report.Name+"?"+query, b.secret, "Accept", kind)
			if have, _, _ := strings.Cut(got.header.Get("Content-Type"), ";"); got.status != 200 || have != kind ||
				!strings.HasPrefix(got.body, begins[kind]) {
				t.Errorf("%s?%s as %s: %d %s", report.Name, query, kind, got.status, got.body)
			}
		}
		for _, kind := range kinds {
			check("", kind)
		}
		for j, query := range []string{"interval=hour", "from=2030-01-01",
			"interval=week&from=2030-01-01&group_by=" + strings.Join(report.Groups(), ",")} {
			check(query, kinds[(i+j)%len(kinds)])
		}
	}
	if got := b.ask(t, "GET", "/api/v1/analytics/calls?format=csv&bom=true&interval=hour&from=2026-04-18&to=2026-04-20",
		b.secret); !strings.HasPrefix(got.body, "\ufeffperiod,calls,answered,") ||
		!strings.Contains(got.body, "\n2026-04-18T") {
		t.Errorf("%q", got.body)
	}
	for query, want := range map[string]string{"calls?format=xlsx": "format", "calls?format=csv&bom=2": "bom",
		"transcripts/terms?max_share=0": "max_share", "transcripts/terms?max_share=NaN": "max_share",
		"transcripts/terms?max_share=a": "max_share"} {
		if got := b.ask(t, "GET", "/api/v1/analytics/"+query, b.secret); got.status != 400 ||
			!strings.Contains(got.body, "The filter "+want+" ") {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	if got := b.ask(t, "GET", "/api/v1/analytics/calls", b.secret, "Accept", "text/html"); got.status != 406 ||
		!strings.Contains(got.body, "application/json, ") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

// Every format has the same matches: as a table, with a row for each turn.
func TestSearch_Tables(t *testing.T) {
	t.Parallel()
	b := startBulk(t)
	db, err := sql.Open("duckdb", "")
	noError(t, err)
	defer db.Close()
	for _, query := range []string{"q=hi", "q=nothing"} {
		var found struct {
			Data []struct {
				CallID string `json:"call_id"`
				Turns  []struct{ Snippet string }
			}
		}
		target := "/api/v1/analytics/transcripts/search?" + query
		noError(t, json.Unmarshal([]byte(b.ask(t, "GET", target, b.secret).body), &found))
		want := ""
		for _, call := range found.Data {
			for _, turn := range call.Turns {
				want += call.CallID + " " + turn.Snippet + "\n"
			}
		}
		if (want == "") != (query == "q=nothing") {
			t.Fatalf("%s: found %q", query, want)
		}
		for format, reader := range map[string]string{"csv": "read_csv", "ndjson": "read_json", "parquet": "read_parquet"} {
			got := b.ask(t, "GET", target+"&format="+format, b.secret)
			name := `attachment; filename="search_` + strings.NewReplacer("-", "", ":",
				"").Replace(got.header.Get("X-As-Of")[:19]) + "Z." + format + `"`
			if got.status != 200 || got.header.Get("Content-Disposition") != name {
				t.Fatalf("%s: %d %v", format, got.status, got.header)
			}
			if got.body == "" && format == "ndjson" { // which has no columns where there are no rows
				continue
			}
			path := filepath.Join(t.TempDir(), "found."+format)
			noError(t, os.WriteFile(path, []byte(got.body), 0o600))
			var have string
			noError(t, db.QueryRowContext(t.Context(),
				"SELECT coalesce(string_agg(call_id || ' ' || snippet || chr(10), ''), '') FROM "+reader+"('"+path+"')").Scan(
				&have))
			if have != want {
				t.Errorf("%s as %s: %q, not %q", query, format, have, want)
			}
		}
		got := b.ask(t, "GET", target, b.secret, "Accept", "application/vnd.apache.arrow.stream")
		reader, err := ipc.NewReader(strings.NewReader(got.body))
		noError(t, err)
		rows := 0
		for reader.Next() {
			rows += int(reader.RecordBatch().NumRows())
		}
		if err := reader.Err(); err != nil || rows != strings.Count(want, "\n") || reader.Schema().NumFields() != 12 {
			t.Errorf("%s: %d rows, %v: %s", query, rows, err, reader.Schema())
		}
		reader.Release()
	}
	if got := b.ask(t, "GET", "/api/v1/analytics/transcripts/search?q=hi&format=xlsx", b.secret); got.status != 400 ||
		!strings.Contains(got.body, "The filter format ") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
