package analytics_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/analytics"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Up to MaxFigures rows are returned in order. One more row is an error.
func TestAnalyze_RowLimit(t *testing.T) {
	w := openNew(t)
	numbered := func(n int) row { return call(tenantA, n, row{"phone_number": fmt.Sprintf("+1555%07d", n)}) }
	var rows []any
	for n := range analytics.MaxFigures {
		rows = append(rows, numbered(n))
	}
	merge(t, w, schema.Calls, rows...)
	found := analyze(t, w, "calls", "UTC", "none", schema.Filter{}, "customer")
	if len(found) != analytics.MaxFigures {
		t.Errorf("got %d rows, want %d", len(found), analytics.MaxFigures)
	}
	for n, figures := range found {
		if want := fmt.Sprintf("1555%07d", n); figures.Group["customer"] != want {
			t.Fatalf("row %d: got customer %v, want %s", n, figures.Group["customer"], want)
		}
	}
	merge(t, w, schema.Calls, numbered(analytics.MaxFigures))
	analysis := analytics.Analysis{Report: reportNamed(t, "calls"), Zone: time.UTC, Interval: "none",
		GroupBy: []string{"customer"}}
	made, err := analytics.Analyze(t.Context(), w, tenantA, analysis)
	noError(t, err)
	if _, err := made.AppendJSON(t.Context(), nil, false); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many: got error %v, want %v", err, warehouse.ErrInvalid)
	}
	if _, err := made.Table(t.Context()); !errors.Is(err, warehouse.ErrInvalid) {
		t.Errorf("one row too many, as a table: got error %v, want %v", err, warehouse.ErrInvalid)
	}
	noError(t, made.Close())
	gone, cancel := context.WithCancel(t.Context())
	made, err = analytics.Analyze(gone, w, tenantA, analysis)
	noError(t, err)
	cancel()
	if _, err := made.AppendJSON(gone, nil, false); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	noError(t, made.Close())
	// A statement may finish before it notices the cancellation.
	for calls := range 4 {
		made, err = analytics.Analyze(t.Context(), w, tenantA, analysis)
		noError(t, err)
		if _, err := made.AppendJSON(&lateContext{t.Context(), calls}, nil, false); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d calls of Err: got error %v, want %v", calls, err, context.Canceled)
		}
		noError(t, made.Close())
	}
}

// A lateContext is cancelled after its Err method was called a number of times. Its Done channel is never closed.
type lateContext struct {
	context.Context
	calls int
}

// Err returns context.Canceled if it was called more often than the initial value of calls.
func (c *lateContext) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}
