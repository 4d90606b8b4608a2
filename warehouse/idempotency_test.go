package warehouse_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// The record of a push is kept for a day, survives a restart, and is visible to its tenant only.
func TestPush_RecordIsKeptForADay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	noError(t, err)
	now := time.Now().UTC().Truncate(time.Microsecond)
	for key, at := range map[string]time.Time{"old": now.Add(-23 * time.Hour), "new": now,
		"'; DROP TABLE pushes --": now} {
		noError(t, w.RecordPush(t.Context(), tenantA,
			warehouse.Push{Key: key, Digest: []byte{0, 255, 39}, Outcome: `{"read":1}`, At: at}))
	}
	noError(t, w.Close())
	w, err = warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	for _, key := range []string{"old", "new", "'; DROP TABLE pushes --"} {
		push, err := w.FindPush(t.Context(), tenantA, key, now)
		noError(t, err)
		if string(push.Digest) != "\x00\xff'" || push.Outcome != `{"read":1}` {
			t.Errorf("%+v", push)
		}
	}
	if push, err := w.FindPush(t.Context(), tenantB, "new", now); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("of another: %+v %v", push, err)
	}
	if push, err := w.FindPush(t.Context(), tenantA, "old", now.Add(time.Hour)); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("a day later: %+v %v", push, err)
	}
	noError(t, w.RecordPush(t.Context(), tenantA,
		warehouse.Push{Key: "newest", Outcome: "{}", Digest: []byte{}, At: now.Add(2 * time.Hour)}))
	if push, err := w.FindPush(t.Context(), tenantA, "old", now); !errors.Is(err, warehouse.ErrNotFound) {
		t.Errorf("it is still there: %+v %v", push, err)
	}
}

// A lookup of the record of a push creates no store.
func TestFindPush_CreatesNoStore(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	_, err := w.FindPush(t.Context(), tenantA, "unknown", time.Now())
	wantKind(t, err, warehouse.ErrNotFound)
	noError(t, w.Close())
	for _, file := range files(t, dir) {
		if strings.Contains(file, tenantA.String()) {
			t.Errorf("got file %s, want none of the tenant", file)
		}
	}
}
