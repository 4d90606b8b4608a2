package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

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
	e, err := new(Journal).NewEntry(kind, data)
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

// Damage costs at most the entry whose bytes it changed, and is noticed. A damaged newline costs nothing.
func TestJournal_DamageCostsTheDamagedEntryOnly(t *testing.T) {
	path, entries := fill(t, 4)
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(damaged []byte, lost int) {
		t.Helper()
		got, lines, err := Read(bytes.NewReader(damaged))
		if err != nil || len(lines) == 0 || len(got) < len(entries)-lost {
			t.Fatalf("got %d entries, damaged lines %v (%v)", len(got), lines, err)
		}
		for _, e := range got {
			if !contains(entries, e) {
				t.Fatalf("got %q, which was never appended", e)
			}
		}
		clean, _ := Clean(damaged)
		again, lines, err := Read(bytes.NewReader(clean))
		if err != nil || len(lines) > 0 || !reflect.DeepEqual(got, again) {
			t.Fatalf("after cleaning: got %d entries, damaged lines %v (%v), want %d", len(again), lines, err, len(got))
		}
	}
	for at, before := range sound {
		last := at == len(sound)-1 // the end of the file ends the line, too
		lost := 1
		if before == '\n' {
			lost = 0
		}
		for _, now := range []byte{before ^ 0xff, before ^ 1, before ^ 4, before ^ 0x20, before ^ 0x40, 0, '\n', '"', '{'} {
			if now == before || last && now == 0 {
				continue
			}
			damaged := bytes.Clone(sound)
			damaged[at] = now
			check(damaged, lost)
		}
	}
	rapid.Check(t, func(r *rapid.T) { // a block of other bytes
		damaged := bytes.Clone(sound)
		at := rapid.IntRange(0, len(sound)-2).Draw(r, "at")
		length := rapid.IntRange(1, min(len(sound)-1-at, 300)).Draw(r, "length")
		fill := rapid.Byte().Draw(r, "byte")
		for i := range length {
			damaged[at+i] = fill
		}
		if bytes.Equal(damaged, sound) {
			return
		}
		check(damaged, 1+bytes.Count(sound[at:at+length], []byte{'\n'}))
	})
}

// Each of two copies completes the other, whatever either has lost.
func TestJournal_MirrorCompletesBothCopies(t *testing.T) {
	path, entries := fill(t, 4)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")[:len(entries)]
	for _, lost := range [][]int{{}, {1}, {0, 3}, {0, 1, 2, 3}} {
		var part []string
		for i, l := range lines {
			if !slices.Contains(lost, i) {
				part = append(part, l)
			}
		}
		var all []string
		for _, l := range lines {
			all = append(all, strings.TrimSuffix(l, "\n"))
		}
		if err := os.WriteFile(path, []byte(strings.Join(part, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		j := mustOpen(t, path)
		var written []string
		added, lacking, err := j.Mirror(append(all, all[0][1:]), func(l []string) { written = append(written, l...) })
		if err != nil || added != len(lost) || len(lacking) > 0 {
			t.Errorf("lost %v: got %d entries added, %q lacking (%v)", lost, added, lacking, err)
		}
		if err := j.Append(entry(t, Erased, "later")); err != nil || len(written) != 1 {
			t.Errorf("lost %v: got lines %q for the copy (%v), want one", lost, written, err)
		}
		j = mustOpen(t, path)
		sameEntries(t, j.Entries(Key), entries) // in the order of their times, wherever they stand
		if _, lacking, err = j.Mirror(all[:2], nil); err != nil || len(lacking) != 3 {
			t.Errorf("lost %v: got %q lacking in the copy (%v), want 3", lost, lacking, err)
		}
	}
}

// The times of entries are in the order of the facts if the clock is set back.
func TestJournal_TimesNeverGoBack(t *testing.T) {
	path, _ := fill(t, 1)
	j := mustOpen(t, path)
	ahead := entry(t, Key, "by a clock that is ahead")
	ahead.At = time.Now().UTC().Add(1000 * time.Hour)
	if err := j.Append(ahead); err != nil {
		t.Fatal(err)
	}
	last := ahead
	for _, journal := range []*Journal{j, mustOpen(t, path)} {
		next, err := journal.NewEntry(Key, "by a clock that is right")
		if err != nil || !next.At.After(last.At) {
			t.Errorf("got an entry of %v (%v), want one after %v", next.At, err, last.At)
		}
		last.At = ahead.At
	}
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
