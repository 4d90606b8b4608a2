package analytics_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/voicory/warehouse/warehouse/warehousetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Helpers of package warehousetest that many tests use.
type row = warehousetest.Row

var (
	tenantA    = warehousetest.TenantA
	tenantB    = warehousetest.TenantB
	noError    = warehousetest.NoError
	openNew    = warehousetest.OpenNew
	call       = warehousetest.Call
	with       = warehousetest.With
	id         = warehousetest.ID
	merge      = warehousetest.Merge[any]
	wantCounts = warehousetest.WantCounts
)
