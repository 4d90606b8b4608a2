package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A tenant that cannot be published fails the commands that stored its rows, and no others. A query of its rows returns
// an error, and no incomplete result.
func TestCommands_PublishingFailureOfOneTenant(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	const broken, healthy = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
	const first = `{"id":"00000000-0000-4000-8000-000000000001","created_at":"2026-03-01"}`
	const second = `{"id":"00000000-0000-4000-8000-000000000002","created_at":"2026-03-01"}`
	ingest := func(tenant, line string) result {
		return run(t, line, "ingest", "--data", data, "--tenant", tenant, "--dataset", "calls", "--json", "-")
	}
	wantStatus(t, ingest(healthy, first), exitDone)
	wantStatus(t, ingest(broken, first), exitDone)
	blocker := filepath.Join(data, "lake", "tenant_id="+broken)
	noError(t, os.RemoveAll(blocker))
	noError(t, os.WriteFile(blocker, nil, 0o600))
	for range 2 { // the rows are new, then unchanged
		if got := wantStatus(t, ingest(broken, second), exitFailed); !strings.Contains(got.stderr, broken) {
			t.Errorf("ingest of the broken tenant: got %q", got.stderr)
		}
	}
	got := wantStatus(t, ingest(healthy, first), exitDone)
	var summary ingestSummary
	noError(t, json.Unmarshal([]byte(got.stdout), &summary))
	if len(summary.Published.Failed) != 1 || summary.Published.Failed[0].Tenant.String() != broken ||
		!strings.Contains(got.stderr, "warning: publish tenant "+broken) {
		t.Errorf("ingest of the healthy tenant: got %+v, stderr %q", summary, got.stderr)
	}
	query := func(tenant string) result {
		return run(t, "", "query", "--data", data, "--tenant", tenant, "SELECT count(*) AS n FROM calls")
	}
	wantStatus(t, query(broken), exitFailed)
	if got := wantStatus(t, query(healthy), exitDone); got.stdout != "n\n1\n" {
		t.Errorf("query of the healthy tenant: got %q", got.stdout)
	}
	noError(t, os.Remove(blocker))
	if got := wantStatus(t, query(broken), exitDone); got.stdout != "n\n2\n" {
		t.Errorf("query after the repair: got %q", got.stdout)
	}
}
