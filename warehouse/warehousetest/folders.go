package warehousetest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// SoundFolder returns a copy of a data folder of two tenants with rows in all datasets, after merges, deletions, a
// refused row and publications. Some rows are in the files of the stores, and some only in their logs.
func SoundFolder(t testing.TB) string {
	t.Helper()
	soundOnce.Do(func() {
		sound = filepath.Join(soundRoot(), "data")
		w := Open(t, sound)
		for _, tenant := range []uuid.UUID{TenantA, TenantB} {
			MergeSamples(t, w, tenant, 0, 40)
		}
		_, err := w.Publish(t.Context())
		NoError(t, err)
		NoError(t, w.Close()) // writes the rows to the files
		w = Open(t, sound)
		for _, tenant := range []uuid.UUID{TenantA, TenantB} {
			MergeSamples(t, w, tenant, 30, 50)
			counts := Merge(t, w, schema.Calls, Row{"user_id": tenant, "id": ID(7), "deleted_at": "2026-06-01T00:00:00Z"})
			if counts.Deleted != 1 {
				t.Fatalf("got %+v, want one deletion", counts)
			}
		}
		_, err = w.Publish(t.Context())
		NoError(t, err)
		CopyFolder(t, sound, sound+".copy") // with the logs, which Close removes
		NoError(t, w.Close())
		NoError(t, os.RemoveAll(sound))
		NoError(t, os.Rename(sound+".copy", sound))
	})
	dir := filepath.Join(t.TempDir(), "data")
	CopyFolder(t, sound, dir)
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

// MergeSamples merges rows of all datasets, and a row that is refused. Rows that exist change. The rows of tenant A are
// of two months, and those of other tenants of one.
func MergeSamples(t testing.TB, w *warehouse.Warehouse, tenant uuid.UUID, from, to int) {
	t.Helper()
	transcripts := []any{nil, "Caller: hello\nAssistant: good morning", []Row{{"speaker": "AI", "text": "hello"}},
		[]Row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes", "timestamp": 12}}, []Row{},
		[]Row{{"speaker": nil, "text": "unknown\n\"},\""}, {"speaker": "Caller", "text": nil}}}
	var calls, customers, messages []Row
	for n := from; n < to; n++ {
		month := 3
		if tenant == TenantA {
			month += n % 2
		}
		created := fmt.Sprintf("2026-%02d-%02dT10:00:%02d.000Z", month, 1+n%28, n%60)
		text := fmt.Sprintf("row %d of %d to %d", n, from, to)
		calls = append(calls, Call(tenant, n, Row{"created_at": created, "summary": text, "cost": float64(n) / 100,
			"duration": fmt.Sprintf("%dm %ds", n%3, n%60), "transcript": transcripts[n%len(transcripts)],
			"metadata": Row{"n": n, "transcript": transcripts[n%3]}, "stt_minutes": float64(n) / 3,
			"from_number": "+1 555 010 0100"}))
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

// VerifyFolder verifies a data folder that is not open.
func VerifyFolder(t testing.TB, dir string) warehouse.Verification {
	t.Helper()
	found, err := warehouse.VerifyFolder(context.Background(), warehouse.Options{Dir: dir}, uuid.Nil)
	NoError(t, err)
	return found
}

// Conditions returns the conditions as tenant/kind/subject, with the letter of the tenant.
func Conditions(w *warehouse.Warehouse) string {
	var list []string
	for _, c := range w.Conditions() {
		tenant := map[uuid.UUID]string{TenantA: "A", TenantB: "B"}[c.Tenant]
		list = append(list, strings.TrimSuffix(fmt.Sprintf("%s/%s/%s", tenant, c.Kind, c.Subject), "/"))
	}
	return strings.Join(list, " ")
}

// WantCallCount requires a number of calls of the tenant.
func WantCallCount(t testing.TB, w *warehouse.Warehouse, tenant uuid.UUID, want int64) {
	t.Helper()
	page, err := w.List(t.Context(), tenant, schema.Calls, warehouse.Listing{Limit: 10})
	NoError(t, err)
	if page.Total != want {
		t.Errorf("tenant %s: got %d calls, want %d", tenant, page.Total, want)
	}
}

// UnfitLog returns a log that DuckDB accepts for a database and fails to replay: it changes a row that the database
// does not have, as the log of another copy of the same template can. No process has the database open, and it has no
// log.
func UnfitLog(t testing.TB, path string) string {
	t.Helper()
	other := filepath.Join(t.TempDir(), "other.duckdb")
	CopyFile(t, path, other)
	ExecFile(t, other, "INSERT INTO schema_version SELECT n, now() FROM range(1000, 6000) numbers(n); CHECKPOINT")
	ExecFile(t, other, "PRAGMA disable_checkpoint_on_shutdown; UPDATE schema_version SET applied_at = now() "+
		"WHERE version = 5999")
	ExecFile(t, path, "CREATE TABLE same (n INTEGER); DROP TABLE same; CHECKPOINT") // the same number of checkpoints
	return ReadFile(t, other+".wal")
}

// StorePath returns the path of the store of a tenant.
func StorePath(dir string, tenant uuid.UUID) string {
	return filepath.Join(dir, "warehouse", tenant.String()+".duckdb")
}

// CopyFolder copies a folder with its modes and hard links.
func CopyFolder(t testing.TB, from, to string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy: %v: %s", err, out)
	}
}

// CopyFile copies a file. It replaces the content of one that exists.
func CopyFile(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	NoError(t, err)
	NoError(t, os.WriteFile(to, text, 0o600))
}

// Contents describes a folder: names, modes and contents of the files in it.
func Contents(t testing.TB, dir string) (text string) {
	t.Helper()
	NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		NoError(t, err)
		info, err := entry.Info()
		NoError(t, err)
		text += fmt.Sprintln(path, info.Mode(), info.Size())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			NoError(t, err)
			text += string(content)
		}
		return nil
	}))
	return text
}
