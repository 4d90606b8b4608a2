package warehouse_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
)

// Up to MaxFigures rows are returned in order. One more row is an error.
func TestAnalyze_RowLimit(t *testing.T) {
	w := openNew(t)
	numbered := func(n int) row { return call(tenantA, n, row{"phone_number": fmt.Sprintf("+1555%07d", n)}) }
	var rows []any
	for n := range warehouse.MaxFigures {
		rows = append(rows, numbered(n))
	}
	merge(t, w, warehouse.Calls, rows...)
	found := analyze(t, w, "calls", "UTC", "none", warehouse.Filter{}, "customer")
	if len(found) != warehouse.MaxFigures {
		t.Errorf("%d rows", len(found))
	}
	for n, figures := range found {
		if want := fmt.Sprintf("1555%07d", n); figures.Group["customer"] != want {
			t.Fatalf("row %d is of %v, not %s", n, figures.Group["customer"], want)
		}
	}
	merge(t, w, warehouse.Calls, numbered(warehouse.MaxFigures))
	analysis := warehouse.Analysis{Report: reportNamed(t, "calls"), Zone: time.UTC, Interval: "none", GroupBy: []string{"customer"}}
	made, err := w.Analyze(t.Context(), tenantA, analysis)
	noError(t, err)
	if _, err := made.AppendJSON(t.Context(), nil, false); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many: %v", err)
	}
	if _, err := made.Table(t.Context()); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many, as a table: %v", err)
	}
	noError(t, made.Close())
	gone, cancel := context.WithCancel(t.Context())
	made, err = w.Analyze(gone, tenantA, analysis)
	noError(t, err)
	cancel()
	if _, err := made.AppendJSON(gone, nil, false); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody waits any more: %v", err)
	}
	noError(t, made.Close())
	// A statement may be done before it hears of that.
	for looks := range 4 {
		made, err = w.Analyze(t.Context(), tenantA, analysis)
		noError(t, err)
		if _, err := made.AppendJSON(&unheard{t.Context(), looks}, nil, false); !errors.Is(err, context.Canceled) {
			t.Errorf("nobody waits any more, and the statement did not hear of it: %v", err)
		}
		noError(t, made.Close())
	}
}

// unheard ends when it was looked at so often, without telling anybody who waits for that.
type unheard struct {
	context.Context
	looks int
}

func (u *unheard) Err() error {
	if u.looks--; u.looks < 0 {
		return context.Canceled
	}
	return nil
}
