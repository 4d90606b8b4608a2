package ingest_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
)

// Fields that no dataset has are named and not kept, and are no error.
func TestUnknownFields(t *testing.T) {
	w := openNew(t)
	call := func(n int, more string) string {
		return fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01T10:00:00Z"%s}`+"\n", tenant.ID, n, more)
	}
	var many strings.Builder
	for n := range 3000 {
		more := ""
		if n > 2500 { // they begin to come amid a file
			more = `,"mood":"good","it's \"new\"":1,"summary":"has mood: {\"temper\": 1}"`
		}
		many.WriteString(call(n, more))
	}
	for name, test := range map[string]struct {
		in   ingest.Input
		want []string
	}{
		"none":    {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, ""))}, nil},
		"ndjson":  {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(many.String())}, []string{`calls.it's "new"`, "calls.mood"}},
		"refused": {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader("{}\nno JSON\n[]\n" + call(1, `,"mood":1`))}, []string{"calls.mood"}},
		"csv": {ingest.Input{Name: "calls.csv", Body: strings.NewReader("user_id,id,created_at,mood,it's\n" + tenant.ID.String() + ",00000000-0000-4000-8000-000000000001,2026-03-01T10:00:00Z,good,2\n")},
			[]string{"calls.it's", "calls.mood"}},
		"known, and not kept": {ingest.Input{Name: "customers.ndjson", Body: strings.NewReader(call(1, `,"recent_calls":[],"recent_messages":[]`))}, nil},
		"long":                {ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, `,"`+strings.Repeat("é", 100)+`":1`))}, []string{"calls." + strings.Repeat("é", 64) + "…"}},
	} {
		summary := load(t, w, test.in)
		if !slices.Equal(summary.Unknown, test.want) {
			t.Errorf("%s: %q, not %q", name, summary.Unknown, test.want)
		}
	}
	if fields := w.UnknownFields(); len(fields) != 4 || !slices.Contains(fields, warehouse.UnknownField{Dataset: "calls", Name: "mood"}) {
		t.Error(fields)
	}
	var endless strings.Builder
	for n := range 1000 {
		fmt.Fprintf(&endless, `,"field %d":1`, n)
	}
	if summary := load(t, w, ingest.Input{Name: "calls.ndjson", Body: strings.NewReader(call(1, endless.String()))}); len(summary.Unknown) != 50 || len(w.UnknownFields()) != 50 {
		t.Errorf("%d fields, %d in all", len(summary.Unknown), len(w.UnknownFields()))
	}
}
