package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// A load adds up the notes of its batches, and half of a surrogate pair refuses no row.
func TestLoad_NotesAndSurrogates(t *testing.T) {
	t.Parallel()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir()})
	noError(t, err)
	rows := `{"id":"00000000-0000-4000-8000-000000000001","created_at":"2026-03-01","ended_at":"infinity"}` + "\n" +
		`{"id":"00000000-0000-4000-8000-000000000002","created_at":"2026-03-01","summary":"cut \ud83d"}` + "\n" +
		`{"id":"00000000-0000-4000-8000-000000000003","created_at":"2026-03-01","summary":"cut ` + "\xed\xa0\xbd" + `"}`
	summary := load(t, w, ingest.Input{Name: "x.calls.ndjson", Tenant: tenant.ID, Body: strings.NewReader(rows)})
	again := load(t, w, ingest.Input{Name: "x.calls.ndjson", Tenant: tenant.ID, Body: strings.NewReader(rows)})
	summary.Add(again)
	if got, want := fmt.Sprint(summary.Notes), "[calls.ended_at: out of range, set to null (rows: 2)]"; got != want {
		t.Errorf("got notes %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(keptCalls(t, w, "coalesce(summary, '')")), "[ cut \uFFFD cut \uFFFD]"; got != want {
		t.Errorf("got summaries %q, want %q", got, want)
	}
}
