package warehouse_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A page of rows that do not fit into the memory together is read in chunks. It ends early if it has a position, and is
// refused if it has a number.
func TestList_LargeRows(t *testing.T) {
	t.Parallel()
	const rows, limit = 60, 100
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "240MB"})
	noError(t, err)
	defer func() { noError(t, w.Close()) }()
	text := strings.Repeat("x", 1_300_000)
	for n := 0; n < rows; n += 10 {
		var batch []any
		for i := range 10 {
			batch = append(batch, call(tenantA, n+i, row{"summary": text}))
		}
		merge(t, w, schema.Calls, batch...)
	}
	list := func(listing warehouse.Listing) (warehouse.Page, error) {
		return w.List(t.Context(), tenantA, schema.Calls, listing)
	}
	for range 2 { // the second time with an index
		if _, err := list(warehouse.Listing{Limit: limit}); !errors.Is(err, warehouse.ErrTooLarge) {
			t.Errorf("page of %d rows: got error %v, want %v", limit, err, warehouse.ErrTooLarge)
		}
	}
	page, err := list(warehouse.Listing{Limit: 20})
	noError(t, err)
	if len(page.Items) != 20 || !page.More {
		t.Errorf("page of 20 rows: got %d rows, more %t", len(page.Items), page.More)
	}
	seen, pages := len(page.Items), 1
	for ; page.More; pages++ {
		page, err = list(warehouse.Listing{Limit: limit, After: &page.Last})
		noError(t, err)
		seen += len(page.Items)
	}
	if seen != rows {
		t.Errorf("got %d rows on %d pages, want %d", seen, pages, rows)
	}
	feed := warehouse.Feed{More: true}
	for seen = 0; feed.More; seen += len(feed.Items) {
		feed, err = w.Changes(t.Context(), tenantA, schema.Calls, schema.Filter{}, feed.Next, limit)
		noError(t, err)
	}
	if seen != rows {
		t.Errorf("got %d rows in the feed, want %d", seen, rows)
	}
}
