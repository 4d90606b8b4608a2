package httpapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/arrowbatch/arrowtest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Between the answers to one tenant, the other reads rows that fill the same memory with its own text.
func TestArrow_BuffersUnderNullsAreZero(t *testing.T) {
	t.Parallel()
	b := startSQL(t)
	const canary = "CANARY-OF-THE-OTHER-TENANT "
	var sparse, full []string
	for i := range 2100 { // more than a vector of DuckDB
		sparse = append(sparse, fmt.Sprintf(`{"user_id":%q,"id":%q,"status":"completed","created_at":"2026-03-01T00:00:00Z"}`,
			mine, id(10_000+i)))
		full = append(full, fmt.Sprintf(
			`{"user_id":%q,"id":%q,"status":"completed","created_at":"2026-03-01T00:00:00Z","summary":%q,"transcript":[{"speaker":"AI","text":%q}]}`,
			theirs, id(20_000+i), strings.Repeat(canary, 8), strings.Repeat(canary, 20)))
	}
	merge(t, b.warehouse, schema.Calls, sparse...)
	merge(t, b.warehouse, schema.Calls, full...)
	_, err := b.warehouse.Publish(t.Context())
	noError(t, err)

	var targets []string
	for _, report := range analytics.Reports {
		targets = append(targets, "/api/v1/analytics/"+report.Name+"?interval=day&format=arrow")
	}
	targets = append(targets, "/api/v1/analytics/transcripts/search?q=hi&format=arrow")
	check := func(target string, got answer) {
		t.Helper()
		if got.status != 200 {
			t.Fatalf("%s: got %d %s", target, got.status, got.body)
		}
		if _, err := arrowtest.CheckStream(strings.NewReader(got.body)); err != nil {
			t.Errorf("%s: %v", target, err)
		}
		if found := strings.Count(got.body, "CANARY"); found > 0 {
			t.Errorf("%s: got %d texts of the other tenant", target, found)
		}
	}
	for range 2 {
		if got := b.stream(t, "calls?format=ndjson", "X-Api-Key", b.another); !strings.Contains(got.body, canary) {
			t.Fatalf("got %d without the other tenant's text", got.status)
		}
		for _, export := range schema.Exports {
			check(export.Name, b.stream(t, export.Name+"?format=arrow"))
		}
		for _, target := range targets {
			check(target, b.ask(t, "GET", target, b.secret))
		}
	}
	for _, sql := range []string{"FROM calls", "FROM calls ORDER BY id",
		"SELECT [summary], {'a': cost}, transcript, cost::DOUBLE > 1 FROM calls", "FROM transcript_turns"} {
		check(sql, b.sql(t, b.secret, fmt.Sprintf(`{"sql": %q, "format": "arrow"}`, sql)))
	}
}
