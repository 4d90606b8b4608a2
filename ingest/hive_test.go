package ingest_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/ingest"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Rows have the values of the Hive partitions of their path, in every format, unless the row has its own.
func TestLoad_HivePartitions(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	one := uuid.UUID{15: 1}.String()
	line := `{"id":"` + one + `","created_at":"2026-01-01"}`
	header, record := "id,created_at,summary\n", one+",2026-01-01,x"
	for name, c := range map[string]struct{ path, text, want string }{
		"CSV":          {"calls/status=failed/x.csv", header + record, `"status":"failed"`},
		"NDJSON":       {"calls/status=busy/x.ndjson", line, `"status":"busy"`},
		"two levels":   {"hive.calls/direction=in/status=x/0.json", "[" + line + "]", `"direction":"in","status":"x"`},
		"all columns":  {"calls/id=" + one + "/created_at=2026-01-01/status=y/0.json", `[ { } ]`, `"status":"y"`},
		"escapes":      {"calls/status=a%2Fb%22%20c/x.ndjson", line, `"status":"a/b\" c"`},
		"letter case":  {"calls/Status=z/x.ndjson", line, `"status":"z"`},
		"own value":    {"calls/status=folder/x.ndjson", line[:len(line)-1] + `,"status":"own"}`, `"status":"own"`},
		"NULL":         {"calls/status=__HIVE_DEFAULT_PARTITION__/x.csv", header + record, `"status":null`},
		"other column": {"calls/nothing=x/x.csv", header + record, `"summary":"x"`},
		"tenant":       {"calls/user_id=" + tenant.ID.String() + "/status=mine/x.csv", header + record, `"status":"mine"`},
	} {
		t.Run(name, func(t *testing.T) {
			in := ingest.Input{Name: c.path, Tenant: tenant.ID, Body: strings.NewReader(c.text)}
			if name == "tenant" {
				in.Tenant = uuid.Nil
			}
			if summary := load(t, w, in); summary.Read != 1 || summary.Refused+int64(summary.FilesRefused) != 0 {
				t.Fatalf("got %+v, want one row", summary)
			}
			call, err := w.Get(t.Context(), tenant.ID, schema.Calls, uuid.MustParse(one))
			noError(t, err)
			if !strings.Contains(call, c.want) {
				t.Errorf("got %s, want %s", call, c.want)
			}
		})
	}
}
