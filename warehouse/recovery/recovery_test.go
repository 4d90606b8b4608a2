package recovery_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// allFaults makes a test damage each byte of the first entry of a log. Otherwise it damages the first 8, and every
// third one of the others.
var allFaults = flag.Bool("faults.all", false, "damage every byte of the first entry of a log")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Helpers of package warehousetest that many tests use.
type row = warehousetest.Row

var (
	tenantA       = warehousetest.TenantA
	tenantB       = warehousetest.TenantB
	noError       = warehousetest.NoError
	wantKind      = warehousetest.WantKind
	open          = warehousetest.Open
	emptyFolder   = warehousetest.EmptyFolder
	call          = warehousetest.Call
	id            = warehousetest.ID
	lines         = warehousetest.Lines[any]
	merge         = warehousetest.Merge[any]
	wantCounts    = warehousetest.WantCounts
	copyFolder    = warehousetest.CopyFolder
	copyFile      = warehousetest.CopyFile
	storePath     = warehousetest.StorePath
	kinds         = warehousetest.Conditions
	contents      = warehousetest.Contents
	wantCallCount = warehousetest.WantCallCount
	execFile      = warehousetest.ExecFile
)

func want(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

func publish(t *testing.T, w *warehouse.Warehouse) warehouse.Published {
	t.Helper()
	published, err := w.Publish(t.Context())
	noError(t, err)
	return published
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	noError(t, err)
	return string(text)
}
