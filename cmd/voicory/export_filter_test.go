package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse/schema"
)

// filterable contains rows that the filters distinguish. The last digit of each id identifies the row.
var filterable = map[string]string{
	"calls": `
		{"id":"1","status":"no_answer","direction":"inbound","from_number":"+49 30 1","assistant_id":"11111111-0000-4000-8000-000000000001","created_at":"2026-03-01T23:59:59.9996Z","transcript":"AI: hi"}
		{"id":"2","status":"no-answer","direction":"outbound","to_number":"+49301","created_at":"2026-03-02T10:00:00Z","transcript":"AI: hi"}
		{"id":"3","status":"completed","direction":"inbound","from_number":"+4930301","created_at":"2026-03-02T10:00:00.0005Z","transcript":"AI: hi"}`,
	"customers": `
		{"id":"4","name":"Asha Rao","source":"website","created_at":"2026-03-01"}
		{"id":"5","email":"rao@example.com","source":"phone","created_at":"2026-03-02"}`,
	"messages": `
		{"id":"6","direction":"inbound","from_number":"+49301","customer_id":"22222222-0000-4000-8000-000000000001","created_at":"2026-03-01"}
		{"id":"7","direction":"outbound","to_number":"+49301","created_at":"2026-03-02"}`,
}

// filtered lists exports with a filter as URL parameters, and the last digits of the ids of the expected rows.
var filtered = []struct{ dataset, filter, ids string }{
	{"calls", "", "123"},
	{"calls", "status=no-answer", "12"},
	{"calls", "status=no_answer&direction=outbound", "2"},
	{"calls", "assistant_id=11111111-0000-4000-8000-000000000001", "1"},
	{"calls", "phone_number=49-301", "12"},
	{"calls", "from=2026-03-02&to=2026-03-02T10:00:00Z", "23"},
	{"calls", "to=2026-03-01", "1"},
	{"calls", "from=2026-03-02T15:30:00%2B05:30", "23"},
	{"transcript_turns", "status=completed", "3"},
	{"transcript_turns", "direction=inbound&to=2026-03-01", "1"},
	{"customers", "search=RAO", "45"},
	{"customers", "search=RAO&source=phone", "5"},
	{"messages", "direction=inbound", "6"},
	{"messages", "customer_id=22222222-0000-4000-8000-000000000001", "6"},
	{"messages", "phone_number=%2B49301&from=2026-03-02", "7"},
}

// Each filter of the REST API is a flag of the command, and a case of filtered.
func TestFilters_AreFlagsWithCases(t *testing.T) {
	t.Parallel()
	help := mustRun(t, "", "export", "--help").stdout
	for _, dataset := range schema.Datasets {
		for _, filter := range dataset.Filters() {
			if !strings.Contains(help, flagName(filter)+"=") {
				t.Errorf("add the flag %s to filterFlags in export_filter.go", flagName(filter))
			}
			if !slices.ContainsFunc(filtered, func(c struct{ dataset, filter, ids string }) bool {
				return strings.Contains("&"+c.filter, "&"+filter+"=")
			}) {
				t.Errorf("add a case with %s=… to filtered", filter)
			}
		}
	}
}

// A filtered export has the expected rows, and the same rows as the stream of the REST API. Unsupported filters are
// refused. The command parses its filters before it knows whether a server runs.
func TestExport_Filters(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	address, _ := serve(t, data)
	for dataset, rows := range filterable {
		rows = strings.ReplaceAll(strings.TrimSpace(rows), `{"id":"`,
			fmt.Sprintf(`{"user_id":%q,"id":"00000000-0000-4000-8000-00000000000`, someTenant))
		mustRun(t, rows, "ingest", "--data", data, "--dataset", dataset, "-")
	}
	key := createKey(t, data, someTenant, "secret", "--rate-limit", "none")
	sorted := func(lines string) string { return strings.Join(slices.Sorted(strings.Lines(lines)), "") }
	for _, test := range filtered {
		args := []string{"export", "--data", data, "--tenant", someTenant, test.dataset}
		values, err := url.ParseQuery(test.filter)
		noError(t, err)
		for name := range values {
			args = append(args, "--"+strings.ReplaceAll(name, "_", "-")+"="+values.Get(name))
		}
		lines := mustRun(t, "", args...).stdout
		var ids []string
		for line := range strings.Lines(lines) {
			var row struct{ ID, CallID string }
			noError(t, json.Unmarshal([]byte(strings.Replace(line, "call_id", "CallID", 1)), &row))
			ids = append(ids, (row.ID + row.CallID)[35:])
		}
		slices.Sort(ids)
		if got := strings.Join(ids, ""); got != test.ids {
			t.Errorf("%v: got ids %s, want %s", args[5:], got, test.ids)
		}
		target := test.dataset + "?format=ndjson&" + test.filter
		if status, body := get(t, address+"/api/v1/exports/"+target, key); status != 200 || sorted(body) != sorted(lines) {
			t.Errorf("%s: got %d %s, want 200 %s", target, status, body, lines)
		}
	}
	for _, test := range []struct{ says, dataset, flag string }{
		{"customers cannot be filtered by --status; its filters are --from, --to, --search, --source", "customers",
			"--status=busy"},
		{"messages cannot be filtered by --assistant-id", "messages", "--assistant-id=11111111-0000-4000-8000-000000000001"},
		{"cost_daily cannot be filtered by --customer-id", "cost_daily", "--customer-id=1"},
		{"--assistant-id is not a UUID", "calls", "--assistant-id=1"},
		{"--customer-id is not a UUID", "messages", "--customer-id=22222222000040008000000000000001"},
		{"--from is not an ISO 8601 date", "calls", "--from=yesterday"},
		{"`export all` writes all rows", "all", "--direction=inbound"},
	} {
		got := wantStatus(t, run(t, "", "export", "--data", data, "--tenant", someTenant, test.dataset, test.flag, "-o",
			t.TempDir()+"/x.csv"), exitUsage)
		if !strings.Contains(got.stderr, test.says) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%s %s: %s", test.dataset, test.flag, got.stderr)
		}
	}
}
