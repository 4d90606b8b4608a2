package warehouse_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

type listed struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

func ids(t *testing.T, items []string) []string {
	t.Helper()
	var found []string
	for _, item := range items {
		var l listed
		noError(t, json.Unmarshal([]byte(item), &l))
		found = append(found, l.ID)
	}
	return found
}

// The pages of every size form the whole list in order: created_at descending, then id.
func TestList_PagesFormTheList(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	var all []listed
	var rows []any
	for n := range 200 {
		// There are days with many rows, days without rows, and times with several rows.
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n*n%40*6) * time.Hour)
		all = append(all, listed{id(n), at})
		rows = append(rows, call(tenantA, n, row{"created_at": at, "direction": []string{"inbound", "outbound"}[n%2]}))
	}
	merge(t, w, schema.Calls, rows...)
	slices.SortFunc(all, func(a, b listed) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, filter := range []schema.Filter{
		{},
		{Direction: "outbound"},
		{From: all[120].CreatedAt, Before: all[20].CreatedAt},
	} {
		var expected []string
		for _, l := range all {
			n, err := strconv.Atoi(l.ID[24:])
			noError(t, err)
			if (filter.Direction == "" || n%2 == 1) &&
				(filter.From.IsZero() || !l.CreatedAt.Before(filter.From) && l.CreatedAt.Before(filter.Before)) {
				expected = append(expected, l.ID)
			}
		}
		for _, limit := range []int64{1, 7, 100, 1000} {
			var got, followed []string
			for listing := (warehouse.Listing{Filter: filter, Limit: limit}); ; {
				page, err := w.List(t.Context(), tenantA, schema.Calls, listing)
				noError(t, err)
				followed = append(followed, ids(t, page.Items)...)
				if !page.More {
					break
				}
				listing.After = &page.Last
			}
			if !slices.Equal(followed, expected) {
				t.Fatalf("%+v by %d, page after page: %d rows in another order than the %d expected", filter, limit,
					len(followed), len(expected))
			}
			for offset := int64(0); ; offset += limit {
				page, err := w.List(t.Context(), tenantA, schema.Calls,
					warehouse.Listing{Filter: filter, Limit: limit, Offset: offset})
				noError(t, err)
				if page.Total != int64(len(expected)) || page.More != (offset+limit < page.Total) {
					t.Fatalf("total is %d of %d, more is %t after %d", page.Total, len(expected), page.More, offset+limit)
				}
				if len(page.Items) == 0 {
					break
				}
				got = append(got, ids(t, page.Items)...)
			}
			if !slices.Equal(got, expected) {
				t.Fatalf("%+v by %d: %d rows in another order than the %d expected", filter, limit, len(got), len(expected))
			}
		}
	}
}

// A list that uses the cached index of wider bounds has its own total and its own pages.
func TestList_CachedIndexOfWiderBounds(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var times []time.Time // of inbound calls, newest first
	var rows []any
	for n := range 300 {
		at := first.Add(time.Duration(n*n%50)*time.Hour + time.Duration(n%7*n%4)*20*time.Minute)
		rows = append(rows, call(tenantA, n, row{"created_at": at, "direction": []string{"inbound", "outbound"}[n%2]}))
		if n%2 == 0 {
			times = append(times, at)
		}
	}
	merge(t, w, schema.Calls, rows...)
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	random := rand.New(rand.NewPCG(1, 2))
	bound := func() time.Time {
		switch at := first.Add(time.Duration(random.IntN(60)-5) * time.Hour); random.IntN(4) {
		case 0:
			return time.Time{}
		case 1:
			return at
		case 2:
			return at.Add(20 * time.Minute)
		default:
			return at.Add(time.Duration(random.IntN(3600)) * time.Second)
		}
	}
	for i := range 150 {
		if i%15 == 0 { // whatever was known is no more
			merge(t, w, schema.Calls, call(tenantA, 1, row{"direction": "outbound", "duration": i}))
		}
		filter := schema.Filter{Direction: "inbound", From: bound(), Before: bound()}
		expected := slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool {
			return at.Before(filter.From) || !filter.Before.IsZero() && !at.Before(filter.Before)
		})
		for _, offset := range []int64{0, 10, 100} {
			page, err := w.List(t.Context(), tenantA, schema.Calls,
				warehouse.Listing{Filter: filter, Limit: 5, Offset: offset})
			noError(t, err)
			var got []time.Time
			for _, item := range page.Items {
				var l listed
				noError(t, json.Unmarshal([]byte(item), &l))
				got = append(got, l.CreatedAt)
			}
			total := int64(len(expected))
			if want := expected[min(offset, total):min(offset+5, total)]; page.Total != total ||
				page.More != (offset+5 < total) || !slices.Equal(got, want) {
				t.Fatalf("%d: from %s before %s after %d: total is %d of %d, more is %t, rows are of %v instead of %v", i,
					filter.From, filter.Before, offset, page.Total, total, page.More, got, want)
			}
		}
	}
}

// The total of a page always belongs to the same state as its rows.
func TestList_TotalAfterMerge(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	for n := range 5 {
		merge(t, w, schema.Calls, call(tenantA, n, nil))
		for i := range 3 { // builds the index, uses it, and cuts another from it
			filter := schema.Filter{}
			if i == 2 {
				filter.Before = time.Date(2026, 3, 1, 10, 0, 1, 0, time.UTC)
			}
			page, err := w.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Filter: filter, Limit: 100})
			noError(t, err)
			if page.Total != int64(n+1) || len(page.Items) != n+1 {
				t.Fatalf("after %d merges: got %d rows and total %d, want %d", n+1, len(page.Items), page.Total, n+1)
			}
		}
	}
}

func TestGet_RowOfAnotherTenant(t *testing.T) {
	t.Parallel()
	w := openNew(t)
	merge(t, w, schema.Calls, call(tenantA, 1, nil), call(tenantB, 2, nil))
	for _, dataset := range schema.Datasets {
		_, err := w.Get(t.Context(), tenantA, dataset, uuid.MustParse(id(2)))
		wantKind(t, err, warehouse.ErrNotFound)
	}
	page, err := w.List(t.Context(), tenantA, schema.Calls, warehouse.Listing{Limit: 10})
	noError(t, err)
	want(t, strings.Join(ids(t, page.Items), ","), id(1))
}
