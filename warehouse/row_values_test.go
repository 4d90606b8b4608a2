package warehouse

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory/mallocator"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/voicory/warehouse/warehouse/schema"
)

// stagedRows stages lines as one batch and returns the typed values and the refusal of each row, as JSON.
func stagedRows(t rapid.TB, w *Warehouse, dataset schema.Dataset, lines []string) (rows []string) {
	t.Helper()
	rows, _ = stagedNotes(t, w, dataset, lines)
	return rows
}

// stagedNotes returns the same as stagedRows, and the notes on the batch.
func stagedNotes(t rapid.TB, w *Warehouse, dataset schema.Dataset, lines []string) (rows []string, notes []FieldNote) {
	t.Helper()
	builder := array.NewRecordBuilder(mallocator.NewMallocator(), LinesSchema)
	defer builder.Release()
	for i, line := range lines {
		builder.Field(0).(*array.Int64Builder).Append(int64(i + 1))
		builder.Field(1).(*array.StringBuilder).Append(line)
		builder.Field(2).(*array.StringBuilder).AppendNull()
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	reader, err := array.NewRecordReader(LinesSchema, []arrow.RecordBatch{record})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Release()
	tenant := uuid.MustParse("11111111-1111-4111-8111-111111111111")
	staged, err := w.Stage(context.Background(), Batch{Dataset: dataset, Tenant: tenant, Rows: Lines{reader}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := staged.Close(); err != nil {
			t.Error(err)
		}
	}()
	result, err := staged.slot.conn.QueryContext(context.Background(), "SELECT to_json(one)::VARCHAR FROM "+
		"(SELECT * EXCLUDE (line, defect, unknown) FROM staged ORDER BY line) AS one")
	if err != nil {
		t.Fatal(err)
	}
	defer result.Close()
	for result.Next() {
		var row string
		if err := result.Scan(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return rows, staged.Notes()
}

// openForStaging returns a warehouse that is closed at the end of the test.
func openForStaging(t *testing.T) *Warehouse {
	t.Helper()
	w, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// times generates texts and numbers that are times, and some that are almost.
func times() *rapid.Generator[any] {
	clock := rapid.SampledFrom([]string{"", "T10:00:00", " 10:00:00", "t10:00:00.5", "T10:00", "T24:00:00", "T23:59:60",
		" 01:30:00", " 25:00:00"})
	zone := rapid.SampledFrom([]string{"", "", "Z", "z", "+05:30", "-08", "+18:30", " UTC", " America/New_York",
		" Europe/Berlin", " Asia/Kolkata", " IST", "[Asia/Tokyo]", " Mars/Olympus"})
	date := rapid.SampledFrom([]string{"2026-03-01", "2026-07-01", "2026-11-01", "1970-01-01", "9999-12-31", "0001-01-01",
		"2026-02-30"})
	iso := rapid.Custom(func(t *rapid.T) any {
		return date.Draw(t, "date") + clock.Draw(t, "clock") + zone.Draw(t, "zone")
	})
	others := rapid.SampledFrom([]any{nil, "", 1772359200, 1772359200123, 1772359200.5, "1772359200", 5, -1, "infinity",
		"Sun, 01 Mar 2026 10:00:00 +0530", "Sun, 01 Mar 2026 10:00:00 EST", "soon", true, []int{1}})
	return rapid.OneOf(iso, iso, others)
}

// The value of a row and its refusal depend on the row alone, whatever rows are staged with it, in any order.
func TestStage_ValueDependsOnItsRowAlone(t *testing.T) {
	t.Parallel()
	limitChecks(t, 8)
	w := openForStaging(t)
	fields := map[string]*rapid.Generator[any]{"created_at": times(), "started_at": times(), "ended_at": times()}
	row := rapid.Custom(func(t *rapid.T) string {
		row := map[string]any{"created_at": "2026-03-01T10:00:00"}
		for name, values := range fields {
			row[name] = values.Draw(t, name)
		}
		row["id"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", rapid.IntRange(0, 3).Draw(t, "id"))
		line, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		return string(line)
	})
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(row, 2, 60).Draw(t, "lines")
		together := stagedRows(t, w, schema.Calls, lines)
		for range 3 {
			i := rapid.IntRange(0, len(lines)-1).Draw(t, "row")
			if alone := stagedRows(t, w, schema.Calls, lines[i:i+1]); together[i] != alone[0] {
				t.Fatalf("row %s\n got %s\nwant %s, as it is staged alone", lines[i], together[i], alone[0])
			}
		}
	})
}

// limitChecks sets the number of checks of rapid for a test whose checks are slow.
func limitChecks(t *testing.T, checks int) {
	t.Helper()
	number := flag.Lookup("rapid.checks").Value
	before := number.String()
	t.Cleanup(func() { _ = number.Set(before) })
	if err := number.Set(strconv.Itoa(checks)); err != nil {
		t.Fatal(err)
	}
}

// Numbers in text columns are plain, and JSON in a text of an object's field is JSON.
func TestStage_TextsAndNumbers(t *testing.T) {
	t.Parallel()
	w := openForStaging(t)
	tests := []struct{ name, field, want string }{ // JSON
		{"phone as a float", `"from_number":919812345678.0`, `"from_number":"919812345678"`},
		{"phone with an exponent", `"from_number":9.19812345678e11`, `"from_number":"919812345678"`},
		{"phone as the text of a float", `"to_number":"919812345678.0"`, `"to_number":"919812345678"`},
		{"phone as a text with an exponent", `"phone_number":"9.19812345678E+11"`, `"phone_number":"919812345678"`},
		{"phone with dots", `"phone_number":"+91 98.12"`, `"phone_number":"+91 98.12"`},
		{"number in a text column", `"summary":12.0`, `"summary":"12"`},
		{"text that looks like a number", `"summary":"12.0"`, `"summary":"12.0"`},
		{"large number", `"call_sid":1e22`, `"call_sid":"10000000000000000000000"`},
		{"long number", `"call_sid":123456789012345678901234567890`, `"call_sid":"123456789012345678901234567890"`},
		{"NaN in a text column", `"summary":NaN`, `"summary":null`},
		{"the text NaN", `"summary":"NaN"`, `"summary":"NaN"`},
		{"JSON in a text", `"metadata":" {\"a\":[1]}"`, `"metadata":{"a":[1]}`},
		{"text in metadata", `"metadata":"{x"`, `"metadata":"{x"`},
		{"transcript in a text", `"transcript":"[]"`, `"transcript":"[]"`},
	}
	lines := make([]string, len(tests))
	for i, test := range tests {
		lines[i] = fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01",%s}`, i, test.field)
	}
	for i, row := range stagedRows(t, w, schema.Calls, lines) {
		if !strings.Contains(row, tests[i].want) {
			t.Errorf("%s: got %s, want %s", tests[i].name, row, tests[i].want)
		}
	}
}

// A value of the right kind that no column can hold is NULL and noted, if the field is optional. Another value, and one
// in a field that a row needs, refuses the row.
func TestStage_ValuesOutOfRange(t *testing.T) {
	t.Parallel()
	w := openForStaging(t)
	tests := []struct{ field, want, note string }{ // want: part of the row; note: "" if the row is refused or has none
		{`"ended_at":"infinity"`, `"ended_at":null`, "ended_at: out of range, set to null"},
		{`"ended_at":0`, `"ended_at":null`, "ended_at: out of range, set to null"},
		{`"ended_at":"0001-01-01T00:00:00Z"`, `"ended_at":null`, "ended_at: out of range, set to null"},
		{`"ended_at":"soon"`, `"reason":"ended_at is not a time: soon"`, ""},
		{`"ended_at":"2026-03-01T10:00:00+18:30"`, `"reason":"ended_at is not a time: 2026-03-01T10:00:00+18:30"`, ""},
		{`"updated_at":"infinity"`, `"_source_at":null`, "updated_at: out of range, set to null"},
		{`"created_at":"infinity"`, `"reason":"created_at is not a time: infinity"`, ""},
		{`"deleted_at":"infinity"`, `"reason":"deleted_at is not a time: infinity"`, ""},
		{`"stt_minutes":NaN`, `"stt_minutes":null`, "stt_minutes: out of range, set to null"},
		{`"stt_minutes":-Infinity`, `"stt_minutes":null`, "stt_minutes: out of range, set to null"},
		{`"stt_minutes":67000000`, `"stt_minutes":null`, "stt_minutes: out of range, set to null"},
		{`"stt_minutes":"many"`, `"reason":"stt_minutes is not a number: many"`, ""},
		{`"tts_characters":1e20`, `"tts_characters":null`, "tts_characters: out of range, set to null"},
		{`"cost":1e9`, `"cost":null`, "cost: out of range, set to null"},
		{`"cost":NaN`, `"cost":null`, "cost: out of range, set to null"},
		{`"cost":"free"`, `"reason":"cost is not a decimal(10,4): free"`, ""},
		{`"duration_seconds":67000000`, `"duration_seconds":null`, "duration_seconds: out of range, set to null"},
		{`"duration_seconds":67e9`, `"duration_seconds":null`, "duration_seconds: out of range, set to null"},
		{`"duration_seconds":-1`, `"duration_seconds":null`, "duration_seconds: out of range, set to null"},
		{`"duration_seconds":"00:01:07"`, `"duration_seconds":67`, ""},
		{`"duration_seconds":67.4`, `"duration_seconds":67`, ""},
		{`"duration_seconds":"long"`, `"reason":"duration_seconds is not an integer: long"`, ""},
		{`"duration":67000000`, `"duration":null`, "duration: out of range, set to null"},
		{`"duration":"67000000"`, `"duration":null`, "duration: out of range, set to null"},
		{`"duration":"2m 18s"`, `"duration":"2m 18s"`, ""},
		{`"duration":NaN`, `"duration":null`, "duration: out of range, set to null"},
		{`"metadata":{"a":[NaN,"NaN"],"b":-Infinity}`, `"metadata":{"a":[null,"NaN"],"b":null}`,
			"metadata: contains NaN or Infinity, replaced by null"},
		{`"metadata":NaN`, `"metadata":null`, "metadata: contains NaN or Infinity, replaced by null"},
		{`"transcript":{"x":1}`, `"transcript":{"x":1}`, "transcript: has parts of unknown shape, without turns"},
		{`"transcript":[1,{"text":"hi"}]`, `"transcript":[1,{"text":"hi"}]`,
			"transcript: has parts of unknown shape, without turns"},
		{`"transcript":["Caller: hi"]`, `"transcript":["Caller: hi"]`, ""},
		{`"assistant_id":"none"`, `"reason":"assistant_id is not a UUID: none"`, ""},
	}
	lines, alone := make([]string, len(tests)), map[string]int64{}
	for i, test := range tests {
		lines[i] = fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","created_at":"2026-03-01",%s}`, i, test.field)
		if strings.HasPrefix(test.field, `"created_at"`) {
			lines[i] = fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d",%s}`, i, test.field)
		}
		if test.note != "" {
			alone[test.note]++
		}
	}
	rows, notes := stagedNotes(t, w, schema.Calls, lines)
	for i, row := range rows {
		if refused := !strings.Contains(row, `"reason":null,"raw":null`); !strings.Contains(row, tests[i].want) ||
			refused != strings.HasPrefix(tests[i].want, `"reason"`) {
			t.Errorf("%s: got %s, want %s", tests[i].field, row, tests[i].want)
		}
	}
	for _, note := range notes {
		text := strings.TrimPrefix(note.Field, "calls.") + ": " + note.Reason
		if alone[text] != note.Rows {
			t.Errorf("got note %v, want %d rows", note, alone[text])
		}
		delete(alone, text)
	}
	if len(alone) > 0 {
		t.Errorf("missing notes: %v", alone)
	}
}
