package recovery_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

func wantSound(t *testing.T, found warehouse.Verification) {
	t.Helper()
	for _, f := range found.Findings {
		t.Errorf("got finding %s: %s: %s", f.Kind, f.File, f.Detail)
	}
}

func TestVerify_SoundFolderHasNoFindings(t *testing.T) {
	t.Parallel()
	dir := SoundFolder(t)
	before := checksums(t, dir)
	found := VerifyFolder(t, dir)
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
			MergeSamples(t, w, tenant, from, from+1+rng.IntN(20))
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
	MergeSamples(t, w, TenantA, 0, 20)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			MergeSamples(t, w, TenantA, n%40, n%40+10)
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
