package control_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse/warehousetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Helpers of package warehousetest that many tests use.
var (
	tenantA     = warehousetest.TenantA
	tenantB     = warehousetest.TenantB
	noError     = warehousetest.NoError
	wantKind    = warehousetest.WantKind
	open        = warehousetest.Open
	emptyFolder = warehousetest.EmptyFolder
	openNew     = warehousetest.OpenNew
	execFile    = warehousetest.ExecFile
	files       = warehousetest.Files
)
