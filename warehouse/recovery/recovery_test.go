package recovery_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

// allFaults makes tests damage each byte of the first entry of a log, and each file in each way. Otherwise they try
// each kind of damage.
var allFaults = flag.Bool("faults.all", false, "try every damage")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
