package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
)

// verify and repair do and print the same for a stopped folder and for a running server.
func TestVerifyAndRepair_StoppedAndRunning(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	const tenant = "aaaaaaaa-0000-4000-8000-000000000001"
	mustRun(t, callLine(1)+"\n"+callLine(2), "ingest", "--data", data, "--tenant", tenant, "--dataset", "calls", "-")
	lake := filepath.Join(data, "lake", "tenant_id="+tenant, "calls")
	check := func(t *testing.T) {
		if got := mustRun(t, "", "verify", "--data", data); !strings.Contains(got.stdout, "verified 1 tenant, ") {
			t.Errorf("sound folder: got %q", got.stdout)
		}
		noError(t, os.RemoveAll(lake))
		got := wantStatus(t, run(t, "", "verify", "--data", data, "--json"), exitFailed)
		var found warehouse.Verification
		noError(t, json.Unmarshal([]byte(got.stdout), &found))
		if len(found.Findings) != 1 || found.Findings[0].Kind != warehouse.FoundPublishedMissing ||
			found.Findings[0].Command != "voicory repair --tenant "+tenant+" --data "+data {
			t.Errorf("lost folder: got %+v", found.Findings)
		}
		if got := mustRun(t, "", "repair", "--data", data, "--dry-run"); !strings.Contains(got.stdout, "would:   publish") {
			t.Errorf("dry run: got %q", got.stdout)
		}
		got = mustRun(t, "", strings.Fields(strings.TrimPrefix(found.Findings[0].Command, "voicory "))...)
		if !strings.Contains(got.stdout, "done:    published again\n") || !strings.Contains(got.stdout, "0 findings remain") {
			t.Errorf("repair: got %q", got.stdout)
		}
		if _, err := os.Stat(lake); err != nil {
			t.Error(err)
		}
	}
	t.Run("stopped", check)
	_, stop := serve(t, data)
	defer stop()
	t.Run("running", check)
}
