package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func opener(path string) func() (*os.File, error) {
	return func() (*os.File, error) { return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) }
}

func mustOpen(t *testing.T, path string) *Journal {
	t.Helper()
	j, err := Open(opener(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func entry(t *testing.T, kind Kind, data any) Entry {
	t.Helper()
	e, err := NewEntry(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// fill creates a journal with n entries and returns its path and entries.
func fill(t *testing.T, n int) (string, []Entry) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := mustOpen(t, path)
	for i := range n {
		if err := j.Append(entry(t, Key, map[string]string{"id": fmt.Sprint(i), "name": "<Zoë>\n"})); err != nil {
			t.Fatal(err)
		}
	}
	return path, j.All()
}

func sameEntries(t *testing.T, got, want []Entry) {
	t.Helper()
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
		t.Errorf("got %s, want %s", g, w)
	}
}

func TestJournal_KeepsEntriesByKind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.ndjson")
	j := mustOpen(t, path)
	first, second := entry(t, Key, 1), entry(t, KeyRevoked, 2)
	if err := j.Append(first, second, first); err != nil {
		t.Fatal(err)
	}
	if err := j.Append(second); err != nil { // known already
		t.Fatal(err)
	}
	j = mustOpen(t, path)
	sameEntries(t, j.All(), []Entry{first, second})
	sameEntries(t, j.Entries(KeyRevoked), []Entry{second})
	var data int
	if err := j.Entries(Key)[0].Decode(&data); err != nil || data != 1 {
		t.Errorf("got %d (%v), want 1", data, err)
	}
}

// Damage to a line costs that line and, if it is a newline, the line after it.
func TestJournal_DamageCostsTheDamagedLinesOnly(t *testing.T) {
	path, entries := fill(t, 8)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		at := rapid.IntRange(0, len(sound)-1).Draw(r, "at")
		damaged := bytes.Clone(sound)
		damaged[at] ^= byte(1 << rapid.IntRange(0, 7).Draw(r, "bit"))
		got, lines, err := Read(bytes.NewReader(damaged))
		if err != nil || len(lines) == 0 && !reflect.DeepEqual(got, entries) || len(got) < len(entries)-2 {
			r.Fatalf("got %d entries, damaged lines %v (%v)", len(got), lines, err)
		}
		for _, e := range got {
			if !contains(entries, e) {
				r.Fatalf("got %q, which was never appended", e)
			}
		}
	})
}

func contains(entries []Entry, e Entry) bool {
	for _, other := range entries {
		if reflect.DeepEqual(e, other) {
			return true
		}
	}
	return false
}

func TestJournal_GoesOnAfterATornLine(t *testing.T) {
	path, entries := fill(t, 3)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := info.Size() - 1; size > info.Size()/3*2+2; size-- {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		j := mustOpen(t, path)
		added := entry(t, History, "added")
		if err := j.Append(added); err != nil {
			t.Fatal(err)
		}
		complete := size == info.Size()-1 // only the newline is missing
		want := entries[:2:2]
		if complete {
			want = entries
		}
		sameEntries(t, mustOpen(t, path).All(), append(want[:len(want):len(want)], added))
		if damaged := mustOpen(t, path).Damaged(); complete == (len(damaged) == 1) {
			t.Errorf("size %d: damaged lines %v", size, damaged)
		}
	}
}

// A failed write is an error of that entry only, and leaves none of its bytes.
func TestJournal_FailedAppendLeavesNothing(t *testing.T) {
	path, entries := fill(t, 2)
	j := mustOpen(t, path)
	if err := j.file.Close(); err != nil { // the next write fails
		t.Fatal(err)
	}
	if err := j.Append(entry(t, Erased, json.RawMessage(`{"hash":"ff"}`))); err == nil {
		t.Fatal("got no error of a write to a closed file")
	}
	sameEntries(t, j.All(), entries)
	added := entry(t, Erased, 2)
	if err := j.Append(added); err != nil {
		t.Fatal(err)
	}
	sameEntries(t, mustOpen(t, path).All(), append(entries, added))
}
