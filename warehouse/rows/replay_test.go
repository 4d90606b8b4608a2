package rows_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// mend rewrites every file of the quarantine.
func mend(t *testing.T, w *warehouse.Warehouse, old, fresh string) {
	t.Helper()
	for _, name := range Files(t, filepath.Join(w.Dir(), "quarantine")) {
		path := filepath.Join(w.Dir(), "quarantine", name)
		NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(ReadFile(t, path), old, fresh)), 0o600))
	}
}

func TestReplay_MergesMendedRows(t *testing.T) {
	t.Parallel()
	w := Open(t, EmptyFolder(t))
	merge := func(batch warehouse.Batch) {
		t.Helper()
		_, _, err := w.Merge(t.Context(), batch)
		NoError(t, err)
	}
	anonymous := Call(TenantA, 2, Row{"cost": "cheap", "summary": "\"née\" \\ 🎈"})
	delete(anonymous, "user_id") // the batch says the tenant; so does the quarantine
	merge(warehouse.Batch{Dataset: schema.Calls, Tenant: TenantA, Origin: "it's a.ndjson",
		Rows: Lines[any](t, Call(TenantA, 1, nil), anonymous, "{}")})
	merge(warehouse.Batch{Dataset: schema.Messages, Origin: "source", NoLineNumbers: true,
		Rows: Lines(t, Call(TenantB, 3, Row{"created_at": "cheap"}))})
	NoError(t, w.RefuseFile(warehouse.Refusal{File: "gone.csv", Dataset: "calls", Reason: "cannot be read"}))

	listed, err := Quarantined(t, w, 10)
	NoError(t, err)
	text := fmt.Sprintf("%+v", listed)
	for _, part := range []string{"File:it's a.ndjson Line:2 Dataset:calls Tenant:" + TenantA.String() +
		" Reason:cost is not a decimal(10,4): cheap",
		"File:source Line:0 Dataset:messages Tenant: Reason:created_at is not a time: cheap",
		"File:gone.csv Line:0 Dataset:calls Tenant: Reason:cannot be read Row: Header:}"} {
		if !strings.Contains(text, part) {
			t.Errorf("got %s, want it to contain %s", text, part)
		}
	}
	if few, err := Quarantined(t, w, 2); len(listed) != 4 || len(few) != 2 || err != nil {
		t.Error(len(listed), few, err)
	}

	counts, refusals, err := w.Replay(t.Context(), nil) // nothing was mended
	NoError(t, err)
	WantCounts(t, counts, schema.Counts{Read: 3, Refused: 3})
	if again, err := Quarantined(t, w, 10); fmt.Sprintf("%+v", again) == "" || len(again) != 4 || len(refusals) != 3 ||
		err != nil {
		t.Errorf("%+v %+v %v", again, refusals, err)
	}
	mend(t, w, "cheap", "2026-01-02") // which is a time; and, as a price, still none
	counts, _, err = w.Replay(t.Context(), nil)
	NoError(t, err)
	WantCounts(t, counts, schema.Counts{Read: 3, New: 1, Refused: 2})
	mend(t, w, "2026-01-02", "0.25")
	for _, name := range Files(t, filepath.Join(w.Dir(), "quarantine")) {
		if strings.HasPrefix(name, "it") {
			counts, _, err = w.Replay(t.Context(), nil, name)
			NoError(t, err)
		}
	}
	WantCounts(t, counts, schema.Counts{Read: 2, New: 1, Refused: 1})
	if _, _, err := w.Replay(t.Context(), nil, "../control.duckdb"); err == nil ||
		!strings.Contains(err.Error(), "no quarantine file") {
		t.Error(err)
	}
	NoError(t, w.Close())
	if got := Query(t, w.Dir(), TenantA, "SELECT cost::VARCHAR || summary FROM calls WHERE id = "+
		"'"+ID(2)+"'"); got != "0.2500\"née\" \\ 🎈" {
		t.Error(got)
	}
}

// A replayed row replaces an existing row only if it has a newer time of its own.
func TestReplay_DoesNotReplaceNewerRows(t *testing.T) {
	t.Parallel()
	w := Open(t, EmptyFolder(t))
	first := func(n int, at any) Row {
		return Call(TenantA, n, Row{"status": "first", "cost": "cheap", "updated_at": at})
	}
	second := func(n int, at any) Row { return Call(TenantA, n, Row{"status": "second", "cost": 1, "updated_at": at}) }
	Merge(t, w, schema.Calls, first(1, nil), first(2, nil), first(3, "2026-06-01"), first(4, "2026-06-03"),
		first(5, nil), first(6, nil))
	Merge(t, w, schema.Calls, second(1, nil), second(2, "2026-06-02"), second(3, "2026-06-02"),
		second(4, "2026-06-02"), second(6, nil))
	Merge(t, w, schema.Calls, Deletion(6, "2026-06-02"))
	mend(t, w, "cheap", "2")
	for n, want := range []schema.Counts{{Read: 6, New: 1, Changed: 1, Superseded: 4}, {}} {
		counts, _, err := w.Replay(t.Context(), nil)
		NoError(t, err)
		if counts != want {
			t.Errorf("%d: %+v", n, counts)
		}
	}
	NoError(t, w.Close())
	got := Query(t, w.Dir(), TenantA, "SELECT string_agg(right(id::VARCHAR, 1) || status, ' ' ORDER BY id) FROM calls")
	if got != "1second 2second 3second 4first 5first" {
		t.Error(got)
	}
}

// A replay that was killed is completed by the next replay.
func TestReplay_AfterCrash(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	folder := filepath.Join(w.Dir(), "quarantine")
	refuse := func(n int) string {
		Merge(t, w, schema.Calls, Call(TenantA, n, Row{"cost": "cheap"}))
		return Files(t, folder)[0]
	}
	name := refuse(1)
	NoError(t, os.Rename(filepath.Join(folder, name), filepath.Join(folder, name+".replaying")))
	if listed, err := Quarantined(t, w, 10); len(listed) != 1 || err != nil {
		t.Error(listed, err)
	}
	refuse(1) // refused again, and kept under its name
	mend(t, w, "cheap", "2")
	counts, _, err := w.Replay(t.Context(), nil)
	NoError(t, err)
	WantCounts(t, counts, schema.Counts{Read: 2, New: 1, Unchanged: 1})
	if left := Files(t, folder); len(left) != 0 {
		t.Error(left)
	}
}

func TestQuarantine_SizeLimit(t *testing.T) {
	t.Parallel()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), Quarantine: 10_000})
	NoError(t, err)
	defer func() { NoError(t, w.Close()) }()
	long := strings.Repeat("x", 1000)
	var dropped int64
	for n := range 30 {
		counts := Merge(t, w, schema.Calls, Call(TenantA, n, Row{"cost": long}))
		dropped += counts.Dropped
	}
	listed, err := Quarantined(t, w, 100)
	NoError(t, err)
	if dropped == 0 || int64(len(listed))+dropped != 30 || w.DroppedRefusals() != dropped ||
		!strings.Contains(listed[len(listed)-1].Row, ID(29)) {
		t.Errorf("got %d rows dropped and %d listed, want 30 in total", dropped, len(listed))
	}
	many := make([]any, 30) // more than fits, at once
	for n := range many {
		many[n] = Call(TenantA, n, Row{"cost": long, "status": "again"})
	}
	counts := Merge(t, w, schema.Calls, many...)
	listed, err = Quarantined(t, w, 100)
	NoError(t, err)
	if counts.Refused != 30 || int64(len(listed)) >= 10 || counts.Dropped < 20 || !strings.Contains(listed[0].Row, ID(0)) {
		t.Errorf("%+v, %d kept", counts, len(listed))
	}
}
