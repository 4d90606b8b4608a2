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
	found, err := w.Analyze(t.Context(), tenantA, analysis)
	noError(t, err)
	if _, err := found.AppendJSON(t.Context(), nil, false); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many: %v", err)
	}
	if _, err := found.Table(t.Context()); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many, as a table: %v", err)
	}
	noError(t, found.Close())
	gone, cancel := context.WithCancel(t.Context())
	found, err = w.Analyze(gone, tenantA, analysis)
	noError(t, err)
	cancel()
	if _, err := found.AppendJSON(gone, nil, false); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	noError(t, found.Close())
}
