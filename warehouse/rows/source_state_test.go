package rows_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// The state of a source is stored with its rows, separately for each tenant and source, and survives a restart.
func TestSourceState_StoredWithRows(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	state := func(tenant uuid.UUID, source, want string) {
		t.Helper()
		got, err := w.SourceState(t.Context(), tenant, source)
		NoError(t, err)
		if string(got) != want {
			t.Errorf("state of %s: got %s, want %s", source, got, want)
		}
	}
	give := func(tenant uuid.UUID, source, value string, rows ...any) schema.Counts {
		t.Helper()
		staged, err := w.Stage(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: source,
			Rows: Lines(t, rows...)})
		NoError(t, err)
		staged.SetState(warehouse.State{Source: source, Value: json.RawMessage(value)})
		counts, _, err := staged.Merge(t.Context())
		NoError(t, err)
		return counts
	}
	state(TenantA, "api", "")
	give(TenantA, "api", `{"page":1}`, Call(TenantA, 1, nil))
	give(TenantA, "it's", `2`, Call(TenantA, 1, nil)) // nothing has changed
	give(TenantB, "api", `{"page":3}`)                // no row
	give(TenantB, "refused", `4`, Row{"id": "x"})
	give(uuid.Nil, "database", `{"since":"2026"}`, Call(TenantA, 2, nil), Call(TenantB, 3, nil))
	give(TenantA, "api", `{"page":5}`, Call(TenantA, 4, nil))
	for range 2 {
		state(TenantA, "api", `{"page":5}`)
		state(TenantA, "it's", `2`)
		state(TenantB, "api", `{"page":3}`)
		state(TenantB, "refused", `4`)
		state(uuid.Nil, "database", `{"since":"2026"}`)
		state(uuid.Nil, "api", "")
		NoError(t, w.Close())
		w = Open(t, dir)
	}
	NoError(t, w.Close())
}

// The files of a source are stored with its rows, separately for each tenant and source, and survive a restart.
func TestSourceFiles_StoredWithRows(t *testing.T) {
	t.Parallel()
	dir := EmptyFolder(t)
	w := Open(t, dir)
	for i, tenant := range []uuid.UUID{TenantA, TenantA, TenantB, uuid.Nil} {
		staged, err := w.Stage(t.Context(), warehouse.Batch{Dataset: schema.Calls, Tenant: tenant, Origin: "x",
			Rows: Lines(t, Call(TenantA, i, nil))})
		NoError(t, err)
		staged.SetState(warehouse.State{Source: "it's", Files: []uint64{uint64(i), 1<<64 - 1}})
		_, _, err = staged.Merge(t.Context())
		NoError(t, err)
	}
	NoError(t, w.SaveState(t.Context(), TenantB, warehouse.State{Source: "other", Files: []uint64{9}}))
	NoError(t, w.ForgetSourceFiles(t.Context(), TenantA, "it's", []uint64{1, 2, 3}))
	files := func(tenant uuid.UUID, source, want string) {
		t.Helper()
		got, err := w.SourceFiles(t.Context(), tenant, source)
		NoError(t, err)
		if fmt.Sprint(got) != want {
			t.Errorf("files of %s: got %v, want %s", source, got, want)
		}
	}
	for range 2 {
		files(TenantA, "it's", "map[0:true 18446744073709551615:true]")
		files(TenantB, "it's", "map[2:true 18446744073709551615:true]")
		files(uuid.Nil, "it's", "map[3:true 18446744073709551615:true]")
		files(TenantB, "other", "map[9:true]")
		files(TenantA, "other", "map[]")
		NoError(t, w.Close())
		w = Open(t, dir)
	}
	NoError(t, w.Close())
}

// Missing fields keep their values and do not count as a change.
func TestMerge_MissingFieldsAreKept(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	full := Call(TenantA, 1, Row{"stt_minutes": 1.5, "tts_characters": 70, "status": "completed"})
	Merge(t, w, schema.Calls, full, Call(TenantB, 1, Row{"stt_minutes": 9}))
	give := func(wanted schema.Counts, rows ...any) {
		t.Helper()
		counts, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "list",
			Rows: Lines(t, rows...), MissingFields: []string{"stt_minutes", "tts_characters", "updated_at"}})
		NoError(t, err)
		WantCounts(t, counts, wanted)
	}
	give(schema.Counts{Read: 1, Unchanged: 1}, Call(TenantA, 1, Row{"status": "completed"}))
	give(schema.Counts{Read: 2, New: 1, Changed: 1}, Call(TenantA, 1, Row{"status": "failed"}), Call(TenantA, 2, nil))
	give(schema.Counts{Read: 2, Unchanged: 2}, Call(TenantA, 1, Row{"status": "failed"}), Call(TenantA, 2, nil))
	item, err := w.Get(t.Context(), TenantA, schema.Calls, uuid.MustParse(ID(1)))
	NoError(t, err)
	var got struct {
		Status        string
		STTMinutes    float64 `json:"stt_minutes"`
		TTSCharacters int     `json:"tts_characters"`
	}
	NoError(t, json.Unmarshal([]byte(item), &got))
	if got.Status != "failed" || got.STTMinutes != 1.5 || got.TTSCharacters != 70 {
		t.Errorf("%+v", got)
	}
}
