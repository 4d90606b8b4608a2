package rows_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// A page of rows that do not fit into the memory together is read in chunks. It ends early if it has a position, and is
// refused if it has a number.
func TestList_LargeRows(t *testing.T) {
	t.Parallel()
	const rows, limit = 60, 100
	w, err := warehouse.Open(t.Context(), warehouse.Options{Dir: t.TempDir(), MemoryLimit: "240MB"})
	NoError(t, err)
	defer func() { NoError(t, w.Close()) }()
	text := strings.Repeat("x", 1_300_000)
	for n := 0; n < rows; n += 10 {
		var batch []string
		for i := range 10 {
			batch = append(batch, fmt.Sprintf(`{"user_id": "%s", "id": "%s", "created_at": "2026-03-01T10:00:00Z", `+
				`"direction": "inbound", "summary": "%s"}`, TenantA, ID(n+i), text))
		}
		Merge(t, w, schema.Calls, batch...)
	}
	list := func(listing warehouse.Listing) (warehouse.Page, error) {
		return w.List(t.Context(), TenantA, schema.Calls, listing)
	}
	for range 2 { // the second time with an index
		if _, err := list(warehouse.Listing{Limit: limit}); !errors.Is(err, warehouse.ErrTooLarge) {
			t.Errorf("page of %d rows: got error %v, want %v", limit, err, warehouse.ErrTooLarge)
		}
	}
	page, err := list(warehouse.Listing{Limit: 20})
	NoError(t, err)
	if len(page.Items) != 20 || !page.More {
		t.Errorf("page of 20 rows: got %d rows, more %t", len(page.Items), page.More)
	}
	seen, pages := len(page.Items), 1
	for ; page.More; pages++ {
		page, err = list(warehouse.Listing{Limit: limit, After: &page.Last})
		NoError(t, err)
		seen += len(page.Items)
	}
	if seen != rows {
		t.Errorf("got %d rows on %d pages, want %d", seen, pages, rows)
	}
	feed := warehouse.Feed{More: true}
	for seen = 0; feed.More; seen += len(feed.Items) {
		feed, err = w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, feed.Next, limit)
		NoError(t, err)
	}
	if seen != rows {
		t.Errorf("got %d rows in the feed, want %d", seen, rows)
	}
}
