package ingest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// quarantined returns the refusals in the quarantine.
func quarantined(t *testing.T, w *warehouse.Warehouse) (refusals []warehouse.Refusal) {
	t.Helper()
	for refusal, err := range w.Quarantine(t.Context()) {
		noError(t, err)
		refusals = append(refusals, refusal)
	}
	return refusals
}

// mend replaces text in all quarantine files.
func mend(t *testing.T, w *warehouse.Warehouse, old, replacement string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(w.Dir(), "quarantine", "*.ndjson"))
	noError(t, err)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		noError(t, err)
		noError(t, os.WriteFile(path, bytes.ReplaceAll(text, []byte(old), []byte(replacement)), 0o600))
	}
}

// A refused line of CSV keeps its header, with which it is read again after it was mended.
func TestReplay_CSVLines(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	one, two := uuid.UUID{15: 1}.String(), uuid.UUID{15: 2}.String()
	load(t, w, textFile("calls.csv", "sep=;\nid;Created At;summary\n"+one+";2026-01-01;first;and more\n"+two+"\n"))
	refusals := quarantined(t, w)
	if len(refusals) != 2 || refusals[0].Header != "sep=;\nid;Created At;summary" || refusals[0].Line != 3 {
		t.Fatalf("got quarantine %+v, want two lines with their header", refusals)
	}
	mend(t, w, "first;and", `\"first;and`)
	mend(t, w, "and more", `and more\"`)
	counts, _, err := w.Replay(t.Context(), ingest.ParseCSVLine)
	noError(t, err)
	if want := (schema.Counts{Read: 2, New: 1, Refused: 1}); counts != want {
		t.Fatalf("got counts %+v, want %+v", counts, want)
	}
	refusals = quarantined(t, w)
	if len(refusals) != 1 || refusals[0].Row != two || refusals[0].Header == "" || refusals[0].Line != 4 {
		t.Errorf("got quarantine %+v, want line 4 with its header", refusals)
	}
	mend(t, w, two, two+";2026-01-01;")
	counts, _, err = w.Replay(t.Context(), ingest.ParseCSVLine)
	noError(t, err)
	if want := (schema.Counts{Read: 1, New: 1}); counts != want || len(quarantined(t, w)) != 0 {
		t.Errorf("got counts %+v, want %+v and an empty quarantine", counts, want)
	}
}

// Damaged lines and refused files do not keep the rows around them from being listed and replayed, and are kept.
func TestReplay_DamagedLines(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	row := func(n int) string {
		return fmt.Sprintf(`{"file":"x","line":%d,"dataset":"calls","tenant_id":%q,"reason":"r","row":%q}`+"\n",
			n, tenant.ID, ids(n)[:len(ids(n))-1])
	}
	const damaged = `{"file":"x","line":` + "\n" + "\x00\xff\n" + "\n" + `{"file":"x","dataset":"nothing","row":"{}"}` +
		"\n" +
		`{"file":"x","dataset":"calls","tenant_id":"me","row":"{}"}` + "\n" + `[]` + "\n"
	const file = `{"file":"gone.csv","line":0,"dataset":"calls","reason":"cannot be read"}` + "\n"
	path := filepath.Join(w.Dir(), "quarantine", "x.0123456789abcdef.ndjson")
	noError(t, os.WriteFile(path, []byte(row(1)+damaged+file+row(2)+row(3)[:40]), 0o600))
	if got := len(quarantined(t, w)); got != 10 {
		t.Errorf("got %d refusals in the list, want 10", got)
	}
	for i := range 2 {
		counts, _, err := w.Replay(t.Context(), ingest.ParseCSVLine)
		noError(t, err)
		if want := (schema.Counts{Read: 2, New: 2}); i == 0 && counts != want {
			t.Errorf("got counts %+v, want %+v", counts, want)
		}
		if got := len(quarantined(t, w)); got != 8 {
			t.Errorf("got %d refusals after the replay, want 8", got)
		}
	}
	var names []string
	for _, refusal := range quarantined(t, w) {
		names = append(names, refusal.Name)
	}
	names = slices.Compact(names)
	if err := w.RemoveQuarantined("nothing.ndjson"); err == nil {
		t.Error("got no error for a file that does not exist")
	}
	noError(t, w.RemoveQuarantined(names...))
	if left := quarantined(t, w); len(left) != 0 {
		t.Errorf("got %+v after the removal, want none", left)
	}
}
