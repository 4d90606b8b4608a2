package warehouse_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
)

func TestRequestLog_SaveReadPrune(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	at := time.Now().UTC().Truncate(time.Millisecond)
	first := warehouse.Request{ID: "r1", At: at.Add(-2 * time.Hour), Method: "GET", Path: "/नमस्ते", Query: `q="';--`,
		Status: 404, Address: "192.0.2.1"}
	second := warehouse.Request{ID: "r2", At: at, Key: uuid.NullUUID{UUID: uuid.New(), Valid: true},
		Tenant: uuid.NullUUID{UUID: tenantA, Valid: true}, Method: "GET",
		Path: "/api/v1/calls", Query: "page=2", Status: 200, DurationMS: 1.25, Bytes: 99, Address: "2001:db8::1",
		UserAgent: "curl/8"}
	w.LogRequest(first)
	w.LogRequest(second)
	read := func(since time.Duration, tenant uuid.NullUUID, limit int64) []warehouse.Request {
		requests, err := w.Requests(t.Context(), at.Add(-since), tenant, limit)
		noError(t, err)
		return requests
	}
	for what, got := range map[string][2]any{
		"all":        {read(3*time.Hour, uuid.NullUUID{}, 10), []warehouse.Request{first, second}},
		"the newest": {read(3*time.Hour, uuid.NullUUID{}, 1), []warehouse.Request{second}},
		"an hour":    {read(time.Hour, uuid.NullUUID{}, 10), []warehouse.Request{second}},
		"another's":  {read(time.Hour, uuid.NullUUID{UUID: tenantB, Valid: true}, 10), []warehouse.Request{}},
		"mine":       {read(3*time.Hour, second.Tenant, 10), []warehouse.Request{second}},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s: %+v", what, got[0])
		}
	}
	w.LogRequest(warehouse.Request{ID: "r3", At: at, Status: 200}) // written by the close
	noError(t, w.Close())
	w = open(t, dir)
	if got := read(3*time.Hour, uuid.NullUUID{}, 10); len(got) != 3 {
		t.Errorf("after a restart: %+v", got)
	}
	noError(t, w.PruneRequests(t.Context(), at.Add(-time.Hour), 100))
	if got := read(3*time.Hour, uuid.NullUUID{}, 10); len(got) != 2 {
		t.Errorf("after pruning: got %+v", got)
	}
	noError(t, w.Close())
}

// LogRequest never blocks. If the buffer is full, requests are dropped and counted.
func TestRequestLog_FullBufferDropsRequests(t *testing.T) {
	w := openNew(t)
	for n := range 10_003 {
		w.LogRequest(warehouse.Request{ID: fmt.Sprint(n), At: time.Now()})
	}
	requests, err := w.Requests(t.Context(), time.Time{}, uuid.NullUUID{}, 20_000)
	noError(t, err)
	if len(requests) != 10_000 || w.DroppedRequests() != 3 {
		t.Errorf("got %d requests logged and %d dropped", len(requests), w.DroppedRequests())
	}
	noError(t, w.PruneRequests(t.Context(), time.Time{}, 100))
	left, err := w.Requests(t.Context(), time.Time{}, uuid.NullUUID{}, 20_000)
	noError(t, err)
	if len(left) < 100 || len(left) > 200 || left[len(left)-1] != requests[len(requests)-1] { // some have the same time
		t.Errorf("after pruning: got %d requests", len(left))
	}
}

func TestSigningKey_PersistsAndIsPrivate(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir)
	cursor, file := w.SigningKey("cursor"), w.SigningKey("file")
	noError(t, w.Close())
	w = open(t, dir)
	if again := w.SigningKey("cursor"); !reflect.DeepEqual(again, cursor) || reflect.DeepEqual(cursor, file) ||
		len(cursor) != 32 {
		t.Errorf("%x, then %x, for files %x", cursor, again, file)
	}
	noError(t, w.Close())
	path := filepath.Join(dir, "signing.key")
	info, err := os.Stat(path)
	noError(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, want no access for others", info.Mode())
	}
	noError(t, os.WriteFile(path, []byte("short"), 0o600))
	_, err = warehouse.Open(t.Context(), warehouse.Options{Dir: dir})
	wantKind(t, err, warehouse.ErrInvalid)
}
