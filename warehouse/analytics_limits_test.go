package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// As many rows as may be are given; one more, and there are none.
func TestMostFigures(t *testing.T) {
	w := openNew(t)
	numbered := func(n int) row { return call(tenantA, n, row{"phone_number": fmt.Sprintf("+1555%07d", n)}) }
	var rows []any
	for n := range warehouse.MostFigures {
		rows = append(rows, numbered(n))
	}
	merge(t, w, warehouse.Calls, rows...)
	if got := len(analyze(t, w, "calls", "UTC", "none", warehouse.Filter{}, "customer")); got != warehouse.MostFigures {
		t.Errorf("%d rows", got)
	}
	merge(t, w, warehouse.Calls, numbered(warehouse.MostFigures))
	analysis := warehouse.Analysis{Report: reportNamed(t, "calls"), Zone: time.UTC, Interval: "none", GroupBy: []string{"customer"}}
	if _, err := w.Analyze(t.Context(), tenantA, analysis); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Analyze(gone, tenantA, analysis); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
}
