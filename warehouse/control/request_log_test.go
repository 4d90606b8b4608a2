package control_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/control"
)

func TestRequestLog_SaveReadPrune(t *testing.T) {
	dir := emptyFolder(t)
	w := open(t, dir)
	at := time.Now().UTC().Truncate(time.Millisecond)
	first := control.Request{ID: "r1", At: at.Add(-2 * time.Hour), Method: "GET", Path: "/नमस्ते",
		Query:  `q="';--`,
		Status: 404, Address: "192.0.2.1"}
	second := control.Request{ID: "r2", At: at, Key: uuid.NullUUID{UUID: uuid.New(), Valid: true},
		Tenant: uuid.NullUUID{UUID: tenantA, Valid: true}, Method: "GET",
		Path: "/api/v1/calls", Query: "page=2", Status: 200, DurationMS: 1.25, Bytes: 99, Address: "2001:db8::1",
		UserAgent: "curl/8"}
	w.LogRequest(first)
	w.LogRequest(second)
	read := func(since time.Duration, tenant uuid.NullUUID, limit int64) []control.Request {
		requests, err := w.Requests(t.Context(), at.Add(-since), tenant, limit)
		noError(t, err)
		return requests
	}
	for what, got := range map[string][2]any{
		"all":        {read(3*time.Hour, uuid.NullUUID{}, 10), []control.Request{first, second}},
		"the newest": {read(3*time.Hour, uuid.NullUUID{}, 1), []control.Request{second}},
		"an hour":    {read(time.Hour, uuid.NullUUID{}, 10), []control.Request{second}},
		"another's":  {read(time.Hour, uuid.NullUUID{UUID: tenantB, Valid: true}, 10), []control.Request{}},
		"mine":       {read(3*time.Hour, second.Tenant, 10), []control.Request{second}},
	} {
		if !reflect.DeepEqual(got[0], got[1]) {
			t.Errorf("%s: %+v", what, got[0])
		}
	}
	w.LogRequest(control.Request{ID: "r3", At: at, Status: 200}) // written by the close
	noError(t, w.Close())
	w = open(t, dir)
	if got := read(3*time.Hour, uuid.NullUUID{}, 10); len(got) != 3 {
		t.Errorf("after a restart: %+v", got)
	}
	noError(t, w.PruneRequests(t.Context(), time.Hour, 100))
	if got := read(3*time.Hour, uuid.NullUUID{}, 10); len(got) != 2 {
		t.Errorf("after pruning: got %+v", got)
	}
	noError(t, w.Close())
}

// A start with a clock that is 40 days ahead of the newest entry deletes no entry.
func TestPruneRequests_ClockAheadAtStart(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	w.LogRequest(control.Request{ID: "r1", At: time.Now().AddDate(0, 0, -40).UTC(), Status: 200})
	noError(t, w.Close())
	w = open(t, dir)
	defer func() { noError(t, w.Close()) }()
	noError(t, w.PruneRequests(t.Context(), 30*24*time.Hour, 100))
	got, err := w.Requests(t.Context(), time.Time{}, uuid.NullUUID{}, 10)
	noError(t, err)
	if len(got) != 1 {
		t.Errorf("got %d entries, want the one of before the start", len(got))
	}
}

// entryOf returns a log entry of a request of a tenant with a valid key.
func entryOf(tenant uuid.UUID, at time.Time) control.Request {
	id := uuid.NullUUID{UUID: tenant, Valid: true}
	return control.Request{ID: uuid.NewString(), At: at, Tenant: id, Key: id, Status: 200}
}

// entries counts the log entries by tenant; uuid.Nil: those without a valid key.
func entries(t *testing.T, w *warehouse.Warehouse) map[uuid.UUID]int {
	t.Helper()
	requests, err := w.Requests(t.Context(), time.Time{}, uuid.NullUUID{}, 1_000_000)
	noError(t, err)
	counts := map[uuid.UUID]int{}
	for _, r := range requests {
		if r.Status == 401 {
			counts[uuid.Nil]++
		} else {
			counts[r.Tenant.UUID]++
		}
	}
	return counts
}

// Logging never waits: entries beyond the bounds of a tenant and of all are dropped and counted, and a tenant that
// floods leaves room for others.
func TestLogRequest_TenantHasAShareOfThePendingEntries(t *testing.T) {
	w := openNew(t)
	for range 6000 {
		w.LogRequest(entryOf(tenantA, time.Now()))
	}
	for range 5001 {
		w.LogRequest(entryOf(tenantB, time.Now()))
	}
	if got := entries(t, w); got[tenantA] != 5000 || got[tenantB] != 5000 || w.DroppedRequests() != 1001 {
		t.Errorf("got %v kept and %d dropped, want 5000 of each and 1001", got, w.DroppedRequests())
	}
	w.LogRequest(entryOf(tenantB, time.Now())) // a new share after each save
	if got := entries(t, w); got[tenantB] != 5001 {
		t.Errorf("got %v, want 5001 of the second", got)
	}
}

// The log is shared: neither a tenant with many requests nor requests without a valid key displace the entries of a
// tenant that has few.
func TestPruneRequests_TenantsShareTheLog(t *testing.T) {
	w := openNew(t)
	at := time.Now().UTC().Truncate(time.Millisecond)
	tenantC := uuid.New()
	for n := range 1000 {
		later := at.Add(time.Duration(n) * time.Millisecond)
		w.LogRequest(control.Request{At: later, Status: 404})
		revoked := entryOf(tenantC, later)
		revoked.Status = 401
		w.LogRequest(revoked)
		w.LogRequest(entryOf(tenantA, later))
		if n < 30 {
			w.LogRequest(entryOf(tenantB, at.Add(-time.Hour)))
		}
		if n < 60 {
			w.LogRequest(entryOf(tenantC, at.Add(-time.Minute)))
		}
	}
	noError(t, w.SaveRequests(t.Context()))
	noError(t, w.PruneRequests(t.Context(), 24*time.Hour, 200))
	requests, err := w.Requests(t.Context(), time.Time{}, uuid.NullUUID{UUID: tenantA, Valid: true}, 1)
	noError(t, err)
	if newest := at.Add(999 * time.Millisecond); len(requests) != 1 || !requests[0].At.Equal(newest) {
		t.Errorf("got %+v, want the newest entry of %v", requests, newest)
	}
	counts := entries(t, w)
	keyless := counts[uuid.Nil]
	if keyless > 10 || counts[tenantA] != 110 || counts[tenantB] != 30 || counts[tenantC] != 60 {
		t.Errorf("got %v, want 110, 30 and 60 entries of tenants and at most 10 without a valid key", counts)
	}
	noError(t, w.PruneRequests(t.Context(), 30*time.Minute, 200))
	if counts := entries(t, w); counts[tenantB] != 0 || counts[tenantA] != 110 {
		t.Errorf("got %v, want no entries from before the time", counts)
	}
}

func TestSigningKey_PersistsAndIsPrivate(t *testing.T) {
	dir := emptyFolder(t)
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
