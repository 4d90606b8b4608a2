package warehouse_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// soundFolder returns a copy of a data folder of two tenants with rows in all datasets, after merges, deletions, a
// refused row and publications. Some rows are in the files of the stores, and some only in their logs.
func soundFolder(t *testing.T) string {
	t.Helper()
	soundOnce.Do(func() {
		sound = filepath.Join(soundRoot(), "data")
		w := Open(t, sound)
		for _, tenant := range []uuid.UUID{TenantA, TenantB} {
			mergeSamples(t, w, tenant, 0, 40)
		}
		_, err := w.Publish(t.Context())
		NoError(t, err)
		NoError(t, w.Close()) // writes the rows to the files
		w = Open(t, sound)
		for _, tenant := range []uuid.UUID{TenantA, TenantB} {
			mergeSamples(t, w, tenant, 30, 50)
			counts := Merge(t, w, schema.Calls, Row{"user_id": tenant, "id": ID(7), "deleted_at": "2026-06-01T00:00:00Z"})
			if counts.Deleted != 1 {
				t.Fatalf("got %+v, want one deletion", counts)
			}
		}
		_, err = w.Publish(t.Context())
		NoError(t, err)
		copyFolder(t, sound, sound+".copy") // with the logs, which Close removes
		NoError(t, w.Close())
		NoError(t, os.RemoveAll(sound))
		NoError(t, os.Rename(sound+".copy", sound))
	})
	dir := filepath.Join(t.TempDir(), "data")
	copyFolder(t, sound, dir)
	return dir
}

var (
	soundOnce sync.Once
	sound     string // data folder
	soundRoot = sync.OnceValue(func() string {
		dir, err := os.MkdirTemp("", "verify")
		if err != nil {
			panic(err)
		}
		return dir
	})
)

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
}

// mergeSamples merges rows of all datasets, and a row that is refused. Rows that exist change.
func mergeSamples(t *testing.T, w *warehouse.Warehouse, tenant uuid.UUID, from, to int) {
	t.Helper()
	transcripts := []any{nil, "Caller: hello\nAssistant: good morning", []Row{{"speaker": "AI", "text": "hello"}},
		[]Row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes", "timestamp": 12}}, []Row{}}
	var calls, customers, messages []Row
	for n := from; n < to; n++ {
		created := fmt.Sprintf("2026-%02d-%02dT10:00:%02d.000Z", 3+n%2, 1+n%28, n%60)
		text := fmt.Sprintf("row %d of %d to %d", n, from, to)
		calls = append(calls, Call(tenant, n, Row{"created_at": created, "summary": text, "cost": float64(n) / 100,
			"duration": fmt.Sprintf("%dm %ds", n%3, n%60), "transcript": transcripts[n%len(transcripts)],
			"metadata": Row{"n": n}, "stt_minutes": float64(n) / 3, "from_number": "+1 555 010 0100"}))
		customers = append(customers, Row{"user_id": tenant, "id": ID(n), "created_at": created, "name": text,
			"updated_at": fmt.Sprintf("2026-05-01T00:00:%02dZ", from%60), "variables": Row{"n": n}})
		messages = append(messages, Row{"user_id": tenant, "id": ID(n), "created_at": created, "direction": "inbound",
			"content": Row{"text": Row{"body": text}}, "message_type": "text"})
	}
	Merge(t, w, schema.Calls, calls...)
	Merge(t, w, schema.Customers, customers...)
	Merge(t, w, schema.Messages, messages...)
	Merge(t, w, schema.Calls, Row{"user_id": tenant, "id": "no id", "created_at": "2026-03-01T00:00:00Z"})
}

func verifyFolder(t *testing.T, dir string) warehouse.Verification {
	t.Helper()
	found, err := warehouse.VerifyFolder(context.Background(), warehouse.Options{Dir: dir}, uuid.Nil)
	NoError(t, err)
	return found
}

func wantSound(t *testing.T, found warehouse.Verification) {
	t.Helper()
	for _, f := range found.Findings {
		t.Errorf("got finding %s: %s: %s", f.Kind, f.File, f.Detail)
	}
}

func TestVerify_SoundFolderHasNoFindings(t *testing.T) {
	t.Parallel()
	dir := soundFolder(t)
	before := checksums(t, dir)
	found := verifyFolder(t, dir)
	wantSound(t, found)
	if c := found.Checked; c.Tenants != 2 || c.Files == 0 || c.Partitions == 0 || c.Rows == 0 || len(found.Skipped) > 0 {
		t.Errorf("got %+v and skipped %v, want both tenants checked", c, found.Skipped)
	}
	if after := checksums(t, dir); after != before {
		t.Errorf("verification changed the folder: before %s, after %s", before, after)
	}
	w := Open(t, dir)
	found, err := w.Verify(t.Context(), uuid.Nil)
	NoError(t, err)
	wantSound(t, found)
	NoError(t, w.Close())
}

// checksums returns the names, modes, times and checksums of all files.
func checksums(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c",
		`cd "$1" && find . -printf '%p %m %T@\n' | sort && find . -type f | sort | xargs sha256sum`, "sh", dir).Output()
	NoError(t, err)
	return string(out)
}
