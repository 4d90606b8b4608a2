package warehouse_test

import (
	"testing"

	"github.com/voicory/warehouse/warehouse/schema"
)

// otherValues returns a value of each field of a dataset that a row may change, and another value.
func otherValues(dataset schema.Dataset) map[string][2]any {
	values := map[string][2]any{}
	for _, name := range dataset.UpdateColumns() {
		typ, known := dataset.FieldType(name)
		switch {
		case !known:
			continue // derived from other fields
		case name == "duration":
			values[name] = [2]any{12, "2m"}
		case typ == "JSON":
			values[name] = [2]any{[]row{{"speaker": "AI", "text": "a"}}, []row{{"speaker": "AI", "text": "b"}}}
		case typ == "UUID":
			values[name] = [2]any{id(1), id(2)}
		case typ == "TIMESTAMPTZ":
			values[name] = [2]any{"2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z"}
		case typ == "BOOLEAN":
			values[name] = [2]any{true, false}
		case typ == "VARCHAR":
			values[name] = [2]any{"+15550001", "+15550002"}
		default:
			values[name] = [2]any{1, 2}
		}
	}
	return values
}

// An update sets only the columns that differ, and each changed row is then as if it had been inserted, whichever
// columns the other rows of its batch change.
func TestMerge_ChangesOfEachColumn(t *testing.T) {
	for _, dataset := range schema.Datasets {
		t.Run(dataset.Name, func(t *testing.T) {
			t.Parallel()
			var before, after []any
			n := 0
			for name, values := range otherValues(dataset) {
				for _, change := range [][2]any{values, {nil, values[1]}, {values[0], nil}} {
					n++
					old := row{"user_id": tenantA, "id": id(n), "created_at": "2026-03-01T10:00:00Z", name: change[0]}
					changed := row{"user_id": tenantA, "id": id(n), "created_at": "2026-03-01T10:00:00Z", name: change[1]}
					before, after = append(before, old), append(after, changed)
				}
			}
			updated, inserted := t.TempDir(), t.TempDir()
			w := open(t, updated)
			merge(t, w, dataset, before...)
			half := len(after) / 2
			for _, rows := range [][]any{after[:1], after[1:2], after[2:half], after[half:]} {
				wantCounts(t, merge(t, w, dataset, rows...),
					schema.Counts{Read: int64(len(rows)), Changed: int64(len(rows))})
			}
			wantCounts(t, merge(t, w, dataset, after...),
				schema.Counts{Read: int64(len(after)), Unchanged: int64(len(after))})
			noError(t, w.Close())
			w = open(t, inserted)
			merge(t, w, dataset, after...)
			noError(t, w.Close())
			rows := "SELECT string_agg(r, chr(10) ORDER BY r) FROM (SELECT t::VARCHAR AS r FROM (SELECT * EXCLUDE (_seq, " +
				"_source_at) FROM " +
				dataset.Name + ") AS t)"
			want(t, query(t, updated, tenantA, rows), query(t, inserted, tenantA, rows))
		})
	}
}

// DuckDB allocates the buffers of an update only for the columns whose values differ, although the statement sets all
// of them. They take memory until the next checkpoint.
func TestMerge_ChangeTakesBuffersOfItsColumns(t *testing.T) {
	t.Parallel()
	taken := func(changed row) float64 {
		dir := t.TempDir()
		w := open(t, dir)
		merge(t, w, schema.Calls, call(tenantA, 1, nil))
		noError(t, w.Close()) // checkpoints the store
		w = open(t, dir)
		defer func() { noError(t, w.Close()) }()
		wantCounts(t, merge(t, w, schema.Calls, call(tenantA, 1, changed)), schema.Counts{Read: 1, Changed: 1})
		used, _, err := w.MemoryOfChanges(t.Context())
		noError(t, err)
		return used
	}
	few, many := row{"cost": 1}, row{}
	for name, values := range otherValues(schema.Calls) {
		many[name] = values[1]
	}
	one, all := taken(few), taken(many)
	if columns := float64(len(many) - len(few)); all-one < columns*(64<<10) {
		t.Errorf("got %.0f bytes for a change of one column and %.0f for one of %d, want at least 64 KiB less a column",
			one, all, len(many))
	}
}
