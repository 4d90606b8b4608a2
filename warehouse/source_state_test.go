package warehouse_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// The state of a source is stored with its rows, separately for each tenant and source, and survives a restart.
func TestSourceState_StoredWithRows(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	state := func(tenant uuid.UUID, source, want string) {
		t.Helper()
		got, err := w.SourceState(t.Context(), tenant, source)
		noError(t, err)
		if string(got) != want {
			t.Errorf("state of %s: got %s, want %s", source, got, want)
		}
	}
	give := func(tenant uuid.UUID, source, value string, rows ...any) schema.Counts {
		t.Helper()
		staged, err := w.Stage(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: source,
			Rows: lines(t, rows...)})
		noError(t, err)
		staged.SetState(warehouse.State{Source: source, Value: json.RawMessage(value)})
		counts, _, err := staged.Merge(t.Context())
		noError(t, err)
		return counts
	}
	state(tenantA, "api", "")
	give(tenantA, "api", `{"page":1}`, call(tenantA, 1, nil))
	give(tenantA, "it's", `2`, call(tenantA, 1, nil)) // nothing has changed
	give(tenantB, "api", `{"page":3}`)                // no row
	give(tenantB, "refused", `4`, row{"id": "x"})
	give(uuid.Nil, "database", `{"since":"2026"}`, call(tenantA, 2, nil), call(tenantB, 3, nil))
	give(tenantA, "api", `{"page":5}`, call(tenantA, 4, nil))
	for range 2 {
		state(tenantA, "api", `{"page":5}`)
		state(tenantA, "it's", `2`)
		state(tenantB, "api", `{"page":3}`)
		state(tenantB, "refused", `4`)
		state(uuid.Nil, "database", `{"since":"2026"}`)
		state(uuid.Nil, "api", "")
		noError(t, w.Close())
		w = open(t, dir)
	}
	noError(t, w.Close())
}

// The files of a source are stored with its rows, separately for each tenant and source, and survive a restart.
func TestSourceFiles_StoredWithRows(t *testing.T) {
	t.Parallel()
	dir := emptyFolder(t)
	w := open(t, dir)
	for i, tenant := range []uuid.UUID{tenantA, tenantA, tenantB, uuid.Nil} {
		staged, err := w.Stage(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: "x",
			Rows: lines(t, call(tenantA, i, nil))})
		noError(t, err)
		staged.SetState(warehouse.State{Source: "it's", Files: []uint64{uint64(i), 1<<64 - 1}})
		_, _, err = staged.Merge(t.Context())
		noError(t, err)
	}
	noError(t, w.SaveState(t.Context(), tenantB, warehouse.State{Source: "other", Files: []uint64{9}}))
	noError(t, w.ForgetSourceFiles(t.Context(), tenantA, "it's", []uint64{1, 2, 3}))
	files := func(tenant uuid.UUID, source, want string) {
		t.Helper()
		got, err := w.SourceFiles(t.Context(), tenant, source)
		noError(t, err)
		if fmt.Sprint(got) != want {
			t.Errorf("files of %s: got %v, want %s", source, got, want)
		}
	}
	for range 2 {
		files(tenantA, "it's", "map[0:true 18446744073709551615:true]")
		files(tenantB, "it's", "map[2:true 18446744073709551615:true]")
		files(uuid.Nil, "it's", "map[3:true 18446744073709551615:true]")
		files(tenantB, "other", "map[9:true]")
		files(tenantA, "other", "map[]")
		noError(t, w.Close())
		w = open(t, dir)
	}
	noError(t, w.Close())
}

// Missing fields keep their values and do not count as a change.
func TestMerge_MissingFieldsAreKept(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	full := call(tenantA, 1, row{"stt_minutes": 1.5, "tts_characters": 70, "status": "completed"})
	merge(t, w, schema.Calls, full, call(tenantB, 1, row{"stt_minutes": 9}))
	give := func(wanted schema.Counts, rows ...any) {
		t.Helper()
		counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "list",
			Rows: lines(t, rows...), MissingFields: []string{"stt_minutes", "tts_characters", "updated_at"}})
		noError(t, err)
		wantCounts(t, counts, wanted)
	}
	give(schema.Counts{Read: 1, Unchanged: 1}, call(tenantA, 1, row{"status": "completed"}))
	give(schema.Counts{Read: 2, New: 1, Changed: 1}, call(tenantA, 1, row{"status": "failed"}), call(tenantA, 2, nil))
	give(schema.Counts{Read: 2, Unchanged: 2}, call(tenantA, 1, row{"status": "failed"}), call(tenantA, 2, nil))
	item, err := w.Get(t.Context(), tenantA, schema.Calls, uuid.MustParse(id(1)))
	noError(t, err)
	var got struct {
		Status        string
		STTMinutes    float64 `json:"stt_minutes"`
		TTSCharacters int     `json:"tts_characters"`
	}
	noError(t, json.Unmarshal([]byte(item), &got))
	if got.Status != "failed" || got.STTMinutes != 1.5 || got.TTSCharacters != 70 {
		t.Errorf("%+v", got)
	}
}
