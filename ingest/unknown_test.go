package ingest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// Fields that the dataset does not have are dropped and reported by name, and cause no error.
func TestLoad_UnknownFields(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	call := func(n int, more string) string {
		return fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"%s}`+"\n",
			tenant.ID, n, more)
	}
	var many strings.Builder
	for n := range 3000 {
		more := ""
		if n > 2500 { // the fields first occur in the middle of the file
			more = `,"mood":"good","it's \"new\"":1,"summary":"has mood: {\"temper\": 1}"`
		}
		many.WriteString(call(n, more))
	}
	for name, test := range map[string]struct {
		in   ingest.Input
		want []string
	}{
		"none": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, ""))}, nil},
		"ndjson": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(many.String())},
			[]string{`calls.it's "new"`, "calls.mood"}},
		"refused": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader("{}\nno JSON\n[]\n" + call(1,
			`,"mood":1`))},
			[]string{"calls.mood"}},
		"csv": {ingest.Input{Name: "calls.csv",
			Body: strings.NewReader("user_id,id,created_at,mood,it's\n" + tenant.ID.String() +
				",00000000-0000-4000-8000-000000000001,2026-03-01T10:00:00Z,good,2\n")}, []string{"calls.it's", "calls.mood"}},
		"known, not stored": {ingest.Input{Name: "customers.ndjson",
			Body: strings.NewReader(call(1, `,"recent_calls":[],"recent_messages":[]`))}, nil},
		"long": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, `,"`+strings.Repeat("é",
			100)+`":1`))},
			[]string{"calls." + strings.Repeat("é", 64) + "…"}},
	} {
		summary := load(t, w, test.in)
		if !slices.Equal(summary.Unknown, test.want) {
			t.Errorf("%s: got %q, want %q", name, summary.Unknown, test.want)
		}
	}
	if fields := w.UnknownFields(); len(fields) != 4 || !slices.Contains(fields,
		warehouse.UnknownField{Dataset: "calls", Name: "mood"}) {
		t.Errorf("got %v, want 4 fields with calls.mood", fields)
	}
	var endless strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&endless, `,"field %d":1`, n)
	}
	summary := load(t, w, ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, endless.String()))})
	if len(summary.Unknown) != 50 || len(w.UnknownFields()) != 50 {
		t.Errorf("got %d fields in the summary and %d in all, want 50", len(summary.Unknown), len(w.UnknownFields()))
	}
}
