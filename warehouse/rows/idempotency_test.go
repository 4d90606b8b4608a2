package rows_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// The record of a push is kept for a day, survives a restart, and is visible to its tenant only.
func TestPush_RecordIsKeptForADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	NoError(t, err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for key, at := range map[string]time.Time{"old": now.Add(-23 * time.Hour), "new": now,
		"'; DROP TABLE pushes --": now} {
		NoError(t, w.RecordPush(t.Context(), TenantA,
			warehouse.Push{Key: key, Digest: []byte{0, 255, 39}, Outcome: `{"read":1}`, At: at}))
	}
	NoError(t, w.Close())
	w, err = warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	NoError(t, err)
	defer func() { NoError(t, w.Close()) }()
	for _, key := range []string{"old", "new", "'; DROP TABLE pushes --"} {
		push, err := w.FindPush(t.Context(), TenantA, key, now)
		NoError(t, err)
		if string(push.Digest) != "\x00\xff'" || push.Outcome != `{"read":1}` {
			t.Errorf("%+v", push)
		}
	}
	if push, err := w.FindPush(t.Context(), TenantB, "new", now); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("of another: %+v %v", push, err)
	}
	if push, err := w.FindPush(t.Context(), TenantA, "old", now.Add(time.Hour)); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("a day later: %+v %v", push, err)
	}
	NoError(t, w.RecordPush(t.Context(), TenantA,
		warehouse.Push{Key: "newest", Outcome: "{}", Digest: []byte{}, At: now.Add(2 * time.Hour)}))
	if push, err := w.FindPush(t.Context(), TenantA, "old", now); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("it is still there: %+v %v", push, err)
	}
}

// A lookup of the record of a push creates no store.
func TestFindPush_CreatesNoStore(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	_, err := w.FindPush(t.Context(), TenantA, "unknown", time.Now())
	WantKind(t, err, warehouse.ErrNotFound)
	NoError(t, w.Close())
	for _, file := range Files(t, dir) {
		if strings.Contains(file, TenantA.String()) {
			t.Errorf("got file %s, want none of the tenant", file)
		}
	}
}
