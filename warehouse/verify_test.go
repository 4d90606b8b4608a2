package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
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
		[]Row{{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes", "timestamp": 12}}, []Row{},
		[]Row{{"speaker": nil, "text": "unknown\n\"},\""}, {"speaker": "Caller", "text": nil}}}
	var calls, customers, messages []Row
	for n := from; n < to; n++ {
		created := fmt.Sprintf("2026-%02d-%02dT10:00:%02d.000Z", 3+n%2, 1+n%28, n%60)
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

func TestVerify_ManualListsEveryFinding(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/operating.md")
	NoError(t, err)
	if table := strings.Join(warehouse.FindingTable(), "\n"); !strings.Contains(string(text), table) {
		t.Errorf("docs/operating.md: got another table of findings, want\n%s", table)
	}
}

// TestVerify_RandomOperationsLeaveASoundFolder merges, deletes, replays, publishes and restarts in random order.
func TestVerify_RandomOperationsLeaveASoundFolder(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	dir := EmptyFolder(t)
	w := Open(t, dir)
	defer func() { NoError(t, w.Close()) }()
	tenants := []uuid.UUID{TenantA, TenantB}
	var done []string
	for step := range 24 {
		tenant := tenants[rng.IntN(len(tenants))]
		from := rng.IntN(60)
		operation := rng.IntN(7)
		done = append(done, fmt.Sprint(operation, from))
		switch operation {
		case 0, 1:
			mergeSamples(t, w, tenant, from, from+1+rng.IntN(20))
		case 2:
			dataset := schema.Datasets[rng.IntN(len(schema.Datasets))]
			_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: dataset, Origin: "deletions", Inferred: rng.IntN(2) > 0,
				Rows: Lines(t, Row{"user_id": tenant, "id": ID(from), "deleted_at": "2026-06-01T00:00:00Z"})})
			NoError(t, err)
		case 3:
			_, err := w.Publish(t.Context())
			NoError(t, err)
		case 4:
			_, _, err := w.Replay(t.Context(), nil)
			NoError(t, err)
		case 5:
			NoError(t, w.Close())
			w = Open(t, dir)
		case 6:
			_, err := w.Erase(t.Context(), tenant, ID(from), warehouse.EraseOptions{})
			if !errors.Is(err, warehouse.ErrNotFound) {
				NoError(t, err)
			}
		}
		if step%8 == 7 {
			found, err := w.Verify(t.Context(), uuid.Nil)
			NoError(t, err)
			for _, f := range found.Findings {
				t.Fatalf("after %v: %s: %s: %s", done, f.Kind, f.File, f.Detail)
			}
		}
	}
}

// TestVerify_WhileRowsAreWritten requires that a verification reports nothing about writers that are not finished.
func TestVerify_WhileRowsAreWritten(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	mergeSamples(t, w, TenantA, 0, 20)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			mergeSamples(t, w, TenantA, n%40, n%40+10)
			_, published := w.Publish(t.Context())
			_, _, replayed := w.Replay(t.Context(), nil)
			if err := errors.Join(published, replayed); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 5 {
		found, err := w.Verify(t.Context(), uuid.Nil)
		NoError(t, err)
		wantSound(t, found)
	}
	close(stop)
	<-stopped
}

// TestVerify_StoreOfAnEarlierVersion checks everything that a store of an earlier schema version has, and names the
// rest.
func TestVerify_StoreOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "base")
	w := Open(t, base)
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"created_at": "2026-03-01T10:00:00Z"}))
	_, err := w.Publish(t.Context())
	NoError(t, err)
	NoError(t, w.Close())
	const noFiles = "lists none"
	for _, version := range []int{1, 2, 5, 6, 11, len(statements.Migrations("tenant")) - 1} {
		dir := filepath.Join(t.TempDir(), "data")
		copyFolder(t, base, dir)
		downgrade(t, dir, version, "SELECT 1")
		found := verifyFolder(t, dir)
		if !found.Sound() {
			t.Errorf("version %d: got findings %+v", version, found.Findings)
		}
		skipped := ""
		for _, s := range found.Skipped {
			skipped += s.Reason
		}
		if hasNoFiles := strings.Contains(skipped, noFiles); !strings.Contains(skipped, "not compared") ||
			hasNoFiles != (version < 6) {
			t.Errorf("version %d: got skipped %q", version, skipped)
		}
		damage(t, only(t, dir, "published/"+TenantA.String()+"/cost_daily-*"), "flipped")
		NoError(t, os.Remove(only(t, dir, "lake/tenant_id="+TenantA.String()+"/calls/*/calls.parquet")))
		ExecFile(t, filepath.Join(dir, "warehouse", TenantA.String()+".duckdb"), "INSERT INTO calls SELECT * FROM calls")
		kinds := map[warehouse.FindingKind]int{}
		for _, f := range verifyFolder(t, dir).Findings {
			kinds[f.Kind]++
		}
		want := map[warehouse.FindingKind]int{warehouse.FoundDuplicates: 1, warehouse.FoundPublishedDamaged: 2,
			warehouse.FoundPublishedMissing: 1}
		if version < 6 {
			want = map[warehouse.FindingKind]int{warehouse.FoundDuplicates: 1}
		}
		for kind, n := range want {
			if kinds[kind] != n {
				t.Errorf("version %d: got findings %v, want %v", version, kinds, want)
			}
		}
	}
}
