package warehouse_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse/warehousetest"
)

// allFaults makes the test of faults try all of them. Otherwise it tries each step and each operation once.
var allFaults = flag.Bool("faults.all", false, "try every fault of the disk")

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
	openNew       = warehousetest.OpenNew
	call          = warehousetest.Call
	deletion      = warehousetest.Deletion
	with          = warehousetest.With
	id            = warehousetest.ID
	lines         = warehousetest.Lines[any]
	merge         = warehousetest.Merge[any]
	wantCounts    = warehousetest.WantCounts
	copyFolder    = warehousetest.CopyFolder
	copyFile      = warehousetest.CopyFile
	kinds         = warehousetest.Conditions
	contents      = warehousetest.Contents
	verifyFolder  = warehousetest.VerifyFolder
	wantCallCount = warehousetest.WantCallCount
	query         = warehousetest.Query
	queryLake     = warehousetest.QueryLake
	queryFile     = warehousetest.QueryFile
	execFile      = warehousetest.ExecFile
	files         = warehousetest.Files
	numbered      = warehousetest.Numbered
	want          = warehousetest.Want
	publish       = warehousetest.Publish
	wantPublished = warehousetest.WantPublished
	readFile      = warehousetest.ReadFile
	ids           = warehousetest.IDs
	follow        = warehousetest.Follow
	quarantined   = warehousetest.Quarantined
	noise         = warehousetest.Noise
	downgrade     = warehousetest.Downgrade
)
