package warehouse_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

func TestRetention_OldRowsLeaveAndStayOut(t *testing.T) {
	t.Parallel()
	w := open(t, emptyFolder(t))
	now := time.Now().UTC()
	merge1 := func(n int, at time.Time) schema.Counts {
		t.Helper()
		return merge(t, w, schema.Calls, call(tenantA, n, row{"created_at": at, "summary": "marzipan of the past"}))
	}
	merge1(1, now.AddDate(0, -25, 0))
	merge1(2, now.AddDate(0, -23, 0))
	merge(t, w, schema.Customers, row{"user_id": tenantA, "id": id(1), "created_at": now.AddDate(-9, 0, 0)})
	merge(t, w, schema.Calls, call(tenantB, 1, row{"created_at": now.AddDate(0, -25, 0)}))
	publish(t, w)
	_, position := follow(t, w, schema.Calls, warehouse.FeedPosition{}, 10)

	wantKind(t, w.SetRetention(t.Context(), uuid.New(), schema.Retention{}), warehouse.ErrNotFound)
	noError(t, w.SetRetention(t.Context(), tenantA, schema.Retention{"calls": {Months: 24}}))
	expired, err := w.ApplyRetention(t.Context())
	noError(t, err)
	want(t, fmt.Sprint(expired), fmt.Sprintf("[{%s map[calls:1 customers:0 messages:0]}]", tenantA))
	for range 2 {
		wantCallCount(t, w, tenantA, 1)
		wantCallCount(t, w, tenantB, 1)
		if _, names := published(t, w); strings.Contains(names, now.AddDate(0, -25, 0).Format("2006-01")) {
			t.Errorf("the month of the old call is still published: %s", names)
		}
		wantCounts(t, merge1(1, now.AddDate(0, -25, 0)), schema.Counts{Read: 1, Erased: 1})
		wantCounts(t, merge1(3, now.AddDate(0, -24, -1)), schema.Counts{Read: 1, Erased: 1})
		again, err := w.ApplyRetention(t.Context())
		if err != nil || len(again) != 0 {
			t.Errorf("got %v (%v), want nothing more", again, err)
		}
		noError(t, w.Close())
		w = open(t, w.Dir())
	}
	items, _ := follow(t, w, schema.Calls, position, 10)
	if len(items) != 1 || !strings.HasPrefix(items[0], `{"id":"`+id(1)+`","deleted":true`) {
		t.Errorf("got changes %v, want the tombstone of the old call", items)
	}
	noError(t, w.SetRetention(t.Context(), tenantA, schema.Retention{}))
	wantCounts(t, merge1(3, now.AddDate(0, -24, -1)), schema.Counts{Read: 1, New: 1})
	noError(t, w.Close())
}
