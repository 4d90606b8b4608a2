package recovery_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A control database that is damaged in any way either opens with the right keys, or is an error of one line with the
// command to run. The repair brings the keys back from the journal.
func TestControl_DamageMatrix(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	_, valid, err := w.CreateKey(t.Context(), TenantA, control.Secret, control.KeySettings{})
	NoError(t, err)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil))
	NoError(t, w.Close())
	path := filepath.Join(dir, "control.duckdb")
	unfit := UnfitLog(t, path)
	w = Open(t, dir)
	key, revoked, err := w.CreateKey(t.Context(), TenantA, control.Secret, control.KeySettings{})
	NoError(t, err)
	_, err = w.RevokeKey(t.Context(), key.ID)
	NoError(t, err)
	sound, log := ReadFile(t, path), ReadFile(t, path+".wal") // as a crash leaves them
	NoError(t, w.Close())
	facts := ReadFile(t, filepath.Join(dir, "journal.ndjson"))

	flip := func(text string, places ...int) string {
		b := []byte(text)
		for _, at := range places {
			b[at] ^= 0x10
		}
		return string(b)
	}
	zero := func(text string, from, to int) string {
		return text[:from] + strings.Repeat("\x00", to-from) + text[to:]
	}
	every := []int{}
	for at := 12288 + 100; at < len(sound); at += 4096 {
		every = append(every, at)
	}
	const gone = "gone"
	for name, files := range map[string][2]string{ // contents of the file and of its log
		"first header flipped":  {flip(sound, 9), log},
		"both headers flipped":  {flip(sound, 4096+20, 8192+20), log},
		"all blocks flipped":    {flip(sound, every...), log},
		"middle zeroed":         {zero(sound, len(sound)/2, len(sound)/2+65536), log},
		"cut in half":           {sound[:len(sound)/2], log},
		"emptied":               {"", log},
		"other text":            {strings.Repeat("no database", 999), log},
		"deleted, log stays":    {gone, log},
		"deleted with its log":  {gone, gone},
		"log flipped":           {sound, flip(log, len(log)/2)},
		"start of log flipped":  {sound, flip(log, 2)},
		"length in log flipped": {sound, flip(log, secondEntry(t, log)+2)},
		"log cut":               {sound, log[:len(log)/2]},
		"log deleted":           {sound, gone},
		"log emptied":           {sound, ""},
		"log of another file":   {sound, unfit},
	} {
		t.Run(name, func(t *testing.T) {
			for i, file := range []string{path, path + ".wal"} {
				_ = os.Remove(file) // it may be missing
				if files[i] != gone {
					NoError(t, os.WriteFile(file, []byte(files[i]), 0o600))
				}
			}
			NoError(t, os.WriteFile(filepath.Join(dir, "journal.ndjson"), []byte(facts), 0o600))
			w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
			if err == nil && strings.HasPrefix(name, "length") {
				t.Error("got no error: DuckDB opens the database without the transactions of the log")
			}
			if err != nil {
				WantKind(t, err, warehouse.ErrInvalid)
				if text := err.Error(); !strings.Contains(text, "run `voicory repair`") || strings.Contains(text, "\n") {
					t.Errorf("got %q, want one line with the command", text)
				}
				repaired, err := warehouse.RepairFolder(t.Context(), warehouse.Options{Dir: dir}, warehouse.RepairOptions{})
				if err != nil || len(repaired.Remaining) > 0 {
					t.Fatalf("repair: %v, remaining %+v", err, repaired.Remaining)
				}
				w = Open(t, dir)
			}
			_, _, err = w.Authenticate(valid)
			NoError(t, err)
			_, _, err = w.Authenticate(revoked)
			WantKind(t, err, warehouse.ErrRevokedKey)
			WantCallCount(t, w, TenantA, 1)
			NoError(t, w.Close())
		})
	}
}

// secondEntry returns the offset of the length of the entry behind the first one of a log.
func secondEntry(t *testing.T, log string) int {
	t.Helper()
	at := strings.Index(log, "\xff\xff")
	if at < 0 {
		t.Fatalf("got a log of %d bytes, want one with an end of its first entry", len(log))
	}
	return at + 2
}
