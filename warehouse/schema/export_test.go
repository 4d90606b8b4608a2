package schema_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse/schema"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// Helpers of package warehousetest.
type row = warehousetest.Row

var (
	tenantA = warehousetest.TenantA
	noError = warehousetest.NoError
	open    = warehousetest.Open
	call    = warehousetest.Call
	merge   = warehousetest.Merge[any]
	query   = warehousetest.Query
)

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

func exportNamed(t *testing.T, name string) schema.Export {
	t.Helper()
	export, err := schema.ExportNamed(name)
	noError(t, err)
	return export
}

// The columns of each export equal those of its description, and internal columns are not among them.
func TestExports_MatchDescriptions(t *testing.T) {
	dir := warehousetest.EmptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls, call(tenantA, 1, nil))
	noError(t, w.Close())
	for _, export := range schema.Exports {
		var described []string
		for _, column := range export.Columns {
			described = append(described, column.Name+" "+column.Type)
			if column.Description == "" || column.Name == "user_id" || column.Name == "config_id" {
				t.Errorf("%s.%s", export.Name, column.Name)
			}
			if zoned := column.Type == "DATE" || strings.HasPrefix(column.Type,
				"TIMESTAMP"); zoned != (column.TimeZone == "UTC") {
				t.Errorf("%s.%s is of time zone %q", export.Name, column.Name, column.TimeZone)
			}
		}
		want(t, query(t, dir, tenantA, "SELECT string_agg(column_name || ' ' || column_type, ', ') FROM (DESCRIBE "+
			""+export.Select(schema.Filter{})+")"), strings.Join(described, ", "))
	}
}

func TestExports_TurnsAndDailyCosts(t *testing.T) {
	dir := warehousetest.EmptyFolder(t)
	w := open(t, dir)
	merge(t, w, schema.Calls,
		call(tenantA, 1, row{"created_at": "2026-03-01T23:59:59.999Z", "started_at": "2026-03-01T23:00:00Z", "cost": 0.1234,
			"duration": "1m 2s", "stt_minutes": 1.5, "tts_characters": 7, "provider": "twilio",
			"transcript": []row{{"role": "user", "content": "नमस्ते  दुनिया\u00a0!",
				"timestamp": "2026-03-01T23:00:01.5Z"},
				{"role": "assistant", "message": " ", "timestamp_ms": 70}, {"speaker": "Dr. Who"}}}),
		call(tenantA, 2, row{"created_at": "2026-03-01T00:00:00Z", "cost": 0.2, "provider": "twilio"}),
		call(tenantA, 3, row{"created_at": "2026-03-01T01:00:00Z", "cost": 0, "provider": "twilio", "duration_seconds": 5}),
		call(tenantA, 4, row{"created_at": "2026-03-02T01:00:00+05:30", "provider": "twilio", "transcript": "AI: hi"}),
		call(tenantA, 5, row{"created_at": "2026-03-02T01:00:00Z", "provider": "twilio", "status": "in-progress"}))
	noError(t, w.Close())
	rows := func(name string, filter schema.Filter, columns string) string {
		return query(t, dir, tenantA, fmt.Sprintf("SELECT coalesce(string_agg(concat_ws(' ', %s), '; '), '') FROM (%s)",
			columns, exportNamed(t, name).Select(filter)))
	}
	turns := "right(call_id::VARCHAR, 1), turn, coalesce(speaker, '?'), coalesce(chars::VARCHAR, '-'), " +
		"coalesce(words::VARCHAR, '-'), coalesce(offset_ms::VARCHAR, '-')"
	want(t, rows("transcript_turns", schema.Filter{}, turns),
		"4 1 AI 2 1 -; 1 1 Caller 16 3 1500; 1 2 AI 1 0 70; 1 3 Dr. Who - - -")
	costs := "day, provider, calls, coalesce(seconds::VARCHAR, '-'), coalesce(cost::VARCHAR, '-'), " +
		"coalesce(stt_minutes::VARCHAR, '-'), coalesce(tts_characters::VARCHAR, '-'), cost_pending"
	want(t, rows("cost_daily", schema.Filter{}, costs),
		"2026-03-01 twilio 4 67 0.3234 1.5 7 1; 2026-03-02 twilio 1 - - - - 1")
	march2 := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	want(t, rows("cost_daily", schema.Filter{From: march2}, costs), "2026-03-02 twilio 1 - - - - 1")
	want(t, rows("calls", schema.Filter{Before: march2, PhoneNumber: "'$status::"}, "id"), "")
	want(t, rows("transcript_turns", schema.Filter{Direction: "outbound"}, turns), "")
	want(t, rows("messages", schema.Filter{CustomerID: uuid.NullUUID{UUID: tenantA, Valid: true}}, "id"), "")
	want(t, rows("customers", schema.Filter{Search: "it's"}, "id"), "")
}

// A derived export is filtered in its own files only if they have every column that the filter uses. The condition
// names the columns of all filters, so the statement over its files has those that are missing.
func TestExport_HasColumnsOfFilter(t *testing.T) {
	turns := exportNamed(t, "transcript_turns")
	for _, test := range []struct {
		name   string
		filter schema.Filter
		want   bool
	}{
		{"bounds", schema.Filter{}, true},
		{"status", schema.Filter{Status: "completed"}, true},
		{"direction", schema.Filter{Direction: "inbound"}, true},
		{"phone number", schema.Filter{PhoneNumber: "+49301"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := turns.HasColumnsOf(test.filter); got != test.want {
				t.Errorf("transcript_turns: got %v, want %v", got, test.want)
			}
			if exportNamed(t, "cost_daily").HasColumnsOf(test.filter) {
				t.Error("cost_daily: got true, want false")
			}
		})
	}
	without := turns
	without.Columns = slices.DeleteFunc(slices.Clone(turns.Columns), func(c schema.Column) bool {
		return c.Name == "direction"
	})
	if without.HasColumnsOf(schema.Filter{Direction: "inbound"}) {
		t.Error("transcript_turns without direction has the column of a filter by direction")
	}
	statement := without.SelectFromFiles(without, []string{"x.parquet"}, schema.Filter{Status: "completed"})
	if !strings.Contains(statement, `NULL AS "direction"`) {
		t.Errorf("got %s, want a column direction of NULLs", statement)
	}
}
