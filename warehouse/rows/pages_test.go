package rows_test

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
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

type listed struct {
	ID        string    `json:"id"`
	CreatedAt time.Time `json:"created_at"`
}

// The pages of every size form the whole list in order: created_at descending, then id.
func TestList_PagesFormTheList(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	var all []listed
	var rows []any
	for n := range 80 {
		// There are days with many rows, days without rows, and times with several rows.
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(n*n%40*6) * time.Hour)
		all = append(all, listed{ID(n), at})
		rows = append(rows, Call(TenantA, n, Row{"created_at": at, "direction": []string{"inbound", "outbound"}[n%2]}))
	}
	Merge(t, w, schema.Calls, rows...)
	slices.SortFunc(all, func(a, b listed) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	for _, filter := range []schema.Filter{
		{},
		{Direction: "outbound"},
		{From: all[50].CreatedAt, Before: all[10].CreatedAt},
	} {
		var expected []string
		for _, l := range all {
			n, err := strconv.Atoi(l.ID[24:])
			NoError(t, err)
			if (filter.Direction == "" || n%2 == 1) &&
				(filter.From.IsZero() || !l.CreatedAt.Before(filter.From) && l.CreatedAt.Before(filter.Before)) {
				expected = append(expected, l.ID)
			}
		}
		for _, limit := range []int64{1, 7, 100} {
			var got, followed []string
			for listing := (warehouse.Listing{Filter: filter, Limit: limit}); ; {
				page, err := w.List(t.Context(), TenantA, schema.Calls, listing)
				NoError(t, err)
				followed = append(followed, IDs(t, page.Items)...)
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
				page, err := w.List(t.Context(), TenantA, schema.Calls,
					warehouse.Listing{Filter: filter, Limit: limit, Offset: offset})
				NoError(t, err)
				if page.Total != int64(len(expected)) || page.More != (offset+limit < page.Total) {
					t.Fatalf("total is %d of %d, more is %t after %d", page.Total, len(expected), page.More, offset+limit)
				}
				if len(page.Items) == 0 {
					break
				}
				got = append(got, IDs(t, page.Items)...)
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
	w := OpenNew(t)
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var times []time.Time // of inbound calls, newest first
	var rows []any
	for n := range 300 {
		at := first.Add(time.Duration(n*n%50)*time.Hour + time.Duration(n%7*n%4)*20*time.Minute)
		rows = append(rows, Call(TenantA, n, Row{"created_at": at, "direction": []string{"inbound", "outbound"}[n%2]}))
		if n%2 == 0 {
			times = append(times, at)
		}
	}
	Merge(t, w, schema.Calls, rows...)
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
			Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"direction": "outbound", "duration": i}))
		}
		filter := schema.Filter{Direction: "inbound", From: bound(), Before: bound()}
		expected := slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool {
			return at.Before(filter.From) || !filter.Before.IsZero() && !at.Before(filter.Before)
		})
		for _, offset := range []int64{0, 10, 100} {
			page, err := w.List(t.Context(), TenantA, schema.Calls,
				warehouse.Listing{Filter: filter, Limit: 5, Offset: offset})
			NoError(t, err)
			var got []time.Time
			for _, item := range page.Items {
				var l listed
				NoError(t, json.Unmarshal([]byte(item), &l))
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
	w := OpenNew(t)
	for n := range 5 {
		Merge(t, w, schema.Calls, Call(TenantA, n, nil))
		for i := range 3 { // builds the index, uses it, and cuts another from it
			filter := schema.Filter{}
			if i == 2 {
				filter.Before = time.Date(2026, 3, 1, 10, 0, 1, 0, time.UTC)
			}
			page, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Filter: filter, Limit: 100})
			NoError(t, err)
			if page.Total != int64(n+1) || len(page.Items) != n+1 {
				t.Fatalf("after %d merges: got %d rows and total %d, want %d", n+1, len(page.Items), page.Total, n+1)
			}
		}
	}
}

func TestGet_RowOfAnotherTenant(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	Merge(t, w, schema.Calls, Call(TenantA, 1, nil), Call(TenantB, 2, nil))
	for _, dataset := range schema.Datasets {
		_, err := w.Get(t.Context(), TenantA, dataset, uuid.MustParse(ID(2)))
		WantKind(t, err, warehouse.ErrNotFound)
	}
	page, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 10})
	NoError(t, err)
	Want(t, strings.Join(IDs(t, page.Items), ","), ID(1))
}
