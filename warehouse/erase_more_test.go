package warehouse_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// While the file of a tenant is written again, the rows of another one are read and written.
func TestErase_OtherTenantsAreReadAndWritten(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	mergePerson(t, w, 30)
	merged := 0
	w.HookDetach(func(uuid.UUID) error { return nil }, func(id uuid.UUID) error {
		if id == tenantA && merged == 0 {
			merged++
			merge(t, w, schema.Calls, call(tenantB, merged, nil))
			wantCallCount(t, w, tenantB, int64(merged))
		}
		return nil
	})
	_, err := w.Erase(t.Context(), tenantA, erasedTexts["number"], warehouse.EraseOptions{})
	noError(t, err)
	if merged == 0 {
		t.Error("the tenant was not detached")
	}
	wantErased(t, w, 30)
}

// A reader that does not end makes the erasure fail. The rows are kept out already, and the erasure is completed later.
func TestErase_CompletedAfterASlowReader(t *testing.T) {
	w := openNew(t)
	mergePerson(t, w, 30)
	snapshot, err := w.Snapshot(t.Context(), tenantA)
	noError(t, err)
	former := warehouse.SetDrainTimeout(50 * time.Millisecond)
	_, err = w.Erase(t.Context(), tenantA, erasedTexts["number"], warehouse.EraseOptions{})
	warehouse.SetDrainTimeout(former)
	wantKind(t, err, warehouse.ErrBusy)
	wantCounts(t, merge(t, w, schema.Calls, call(tenantA, 950, row{"from_number": erasedTexts["number"]})),
		schema.Counts{Read: 1, Erased: 1})
	noError(t, snapshot.Close())
	noError(t, w.FinishErasures(context.Background()))
	publish(t, w)
	wantErased(t, w, 30)
}

// A customer with a number of the business is not erased by the id, because all calls would leave.
func TestErase_OwnNumberMustBeNamed(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	const own = "+91 80000 00001"
	merge(t, w, schema.Customers, row{"user_id": tenantA, "id": id(1), "phone_number": own, "created_at": "2026-03-01"},
		row{"user_id": tenantA, "id": id(2), "phone_number": "anonymous", "created_at": "2026-03-01"})
	for n := range 12 {
		merge(t, w, schema.Calls, call(tenantA, 100+n, row{"from_number": "anonymous", "to_number": "+918000000001"}))
	}
	_, err := w.Erase(t.Context(), tenantA, id(1), warehouse.EraseOptions{DryRun: true})
	wantKind(t, err, warehouse.ErrInvalid)
	for customer, want := range map[string]map[string]int64{
		own:         {"calls": 12, "customers": 1, "messages": 0},
		id(2):       {"calls": 0, "customers": 1, "messages": 0}, // anonymous is not a number of one person
		"anonymous": {"calls": 12, "customers": 1, "messages": 0},
		"+4912345":  {"calls": 0, "customers": 0, "messages": 0},
	} {
		report, err := w.Erase(t.Context(), tenantA, customer, warehouse.EraseOptions{DryRun: true})
		if err != nil || fmt.Sprint(report.Rows) != fmt.Sprint(want) {
			t.Errorf("%s: got %v (%v), want %v", customer, report.Rows, err, want)
		}
	}
	for _, wrong := range []string{"", " + ", uuid.NewString()} {
		if _, err := w.Erase(t.Context(), tenantA, wrong, warehouse.EraseOptions{DryRun: true}); err == nil {
			t.Errorf("%q: got no error", wrong)
		}
	}
}

// Rows and refused rows that are merged at the same time as the erasure do not stay.
func TestErase_WhileRowsAreMerged(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	mergePerson(t, w, 30)
	ctx, stop := context.WithCancel(t.Context())
	var writers errgroup.Group
	for n := range 2 {
		writers.Go(func() error {
			for ctx.Err() == nil {
				_, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: fmt.Sprint(n), Rows: lines(t,
					call(tenantA, erasedID+1, row{"from_number": erasedTexts["number"], "summary": erasedTexts["summary"]}),
					row{"user_id": tenantA, "id": "none", "from_number": erasedTexts["number"]})})
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 2 {
		_, err := w.Erase(t.Context(), tenantA, erasedTexts["number"], warehouse.EraseOptions{})
		noError(t, err)
	}
	stop()
	noError(t, writers.Wait())
	publish(t, w)
	wantErased(t, w, 30)
	if refused, err := quarantined(t, w, 10); err != nil || len(refused) != 0 {
		t.Errorf("got entries of the quarantine %v (%v)", refused, err)
	}
}
