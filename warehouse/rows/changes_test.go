package rows_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
	. "github.com/voicory/warehouse/warehouse/warehousetest"
)

// changed holds the members of an item that tests inspect.
type changed struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	Deleted   bool   `json:"deleted"`
	DeletedAt string `json:"deleted_at"`
}

func changedItem(t *testing.T, item string) (c changed) {
	t.Helper()
	NoError(t, json.Unmarshal([]byte(item), &c))
	return c
}

func TestChanges_Order(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	none := Changes(t, w, schema.Calls, schema.Filter{}, warehouse.FeedPosition{}, 10)
	if len(none.Items) != 0 || none.More || none.Next != (warehouse.FeedPosition{}) || none.Seq != 0 {
		t.Fatalf("feed without rows: got %+v", none)
	}
	// sequence number 1
	Merge(t, w, schema.Calls, Call(TenantA, 3, nil), Call(TenantA, 1, nil), Call(TenantA, 2, nil))
	// 2
	Merge(t, w, schema.Calls, Call(TenantA, 1, Row{"status": "failed"}), Deletion(2, "2026-06-01T10:00:00.5Z"),
		Call(TenantA, 4, nil))
	// 3, in another dataset
	Merge(t, w, schema.Messages, Call(TenantA, 9, nil))
	// in another tenant
	Merge(t, w, schema.Calls, Call(TenantB, 7, nil))
	// 4, the deletion of a row that does not exist
	Merge(t, w, schema.Calls, Deletion(8, "2026-06-02"))

	for _, limit := range []int64{1, 2, 3, 100} {
		items, end := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, limit)
		var order []string
		for _, item := range items {
			c := changedItem(t, item)
			order = append(order, fmt.Sprintf("%s %s%s", c.ID[34:], c.Status, c.DeletedAt))
		}
		Want(t, fmt.Sprint(order), "[03 completed 01 failed 02 2026-06-01T10:00:00.500Z 04 completed 08 "+
			"2026-06-02T00:00:00.000Z]")
		Want(t, fmt.Sprint(end.Seq, end.ID), fmt.Sprint("4 ", ID(8)))
		// The end is stable: asked for again, it is the same and empty.
		feed := Changes(t, w, schema.Calls, schema.Filter{}, end, limit)
		if len(feed.Items) != 0 || feed.More || feed.Next != end || feed.Seq != 4 {
			t.Fatalf("after the end: got %+v, want no items", feed)
		}
	}
	// A deleted item has no values; a row has the format of lists.
	items, _ := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, 100)
	Want(t, items[2], `{"id":"`+ID(2)+`","deleted":true,"deleted_at":"2026-06-01T10:00:00.500Z"}`)
	page, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 10})
	NoError(t, err)
	if !slices.Contains(page.Items, items[0]) {
		t.Errorf("got %s from the feed, want %v as in the list", items[0], page.Items)
	}
	// AfterCommit returns the position after all rows of a commit.
	for seq, left := range []int{5, 4, 1, 1, 0} {
		if items, _ := Follow(t, w, schema.Calls, warehouse.AfterCommit(int64(seq)), 2); len(items) != left {
			t.Errorf("got %d changes after %d, want %d", len(items), seq, left)
		}
	}
}

// A filter applies to rows, but not to deletions, because deleted rows have no values to compare.
func TestChanges_Filter(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	assistant, customer := uuid.New(), uuid.New()
	some := func(n int, fields Row) Row {
		return With(Call(TenantA, n, Row{"assistant_id": assistant, "customer_id": customer, "from_number": "+91 1",
			"name": "Asha", "source": "phone"}), fields)
	}
	for name, test := range map[string]struct {
		dataset schema.Dataset
		other   Row
		filter  schema.Filter
	}{
		"status": {schema.Calls, Row{"status": "failed"}, schema.Filter{Status: "completed"}},
		"assistant": {schema.Calls, Row{"assistant_id": nil},
			schema.Filter{AssistantID: uuid.NullUUID{UUID: assistant, Valid: true}}},
		"search": {schema.Customers, Row{"name": "Ravi"}, schema.Filter{Search: "ash"}},
		"customer": {schema.Messages, Row{"customer_id": nil},
			schema.Filter{CustomerID: uuid.NullUUID{UUID: customer, Valid: true}}},
		"number": {schema.Messages, Row{"from_number": "+91 2"}, schema.Filter{PhoneNumber: "91-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			Merge(t, w, test.dataset, some(1, nil), some(2, test.other), Deletion(3, "2026-06-01"))
			feed := Changes(t, w, test.dataset, test.filter, warehouse.FeedPosition{}, 10)
			Want(t, fmt.Sprint(IDs(t, feed.Items)), fmt.Sprint([]string{ID(1), ID(3)}))
		})
	}
}

// A row that stops matching the filter is like a deleted one without a time, and so is a later row that never matched.
// Rows that did not match when the client began are left out.
func TestChanges_RowsLeaveTheFilter(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	filter := schema.Filter{Status: "completed"}
	at := func(n int, status string, minute int) Row {
		return Call(TenantA, n, Row{"status": status, "updated_at": fmt.Sprintf("2026-06-01T00:%02d:00Z", minute)})
	}
	Merge(t, w, schema.Calls, at(1, "completed", 0), at(2, "failed", 0), at(3, "completed", 0))
	first := Changes(t, w, schema.Calls, filter, warehouse.FeedPosition{}, 1)
	Merge(t, w, schema.Calls, at(3, "failed", 1), at(4, "failed", 1), at(5, "completed", 1))
	var got []string
	for position, more := first.Next, true; more; {
		feed := Changes(t, w, schema.Calls, filter, position, 2)
		for _, item := range feed.Items {
			var row struct {
				ID        string
				Deleted   bool
				DeletedAt *string `json:"deleted_at"`
			}
			NoError(t, json.Unmarshal([]byte(item), &row))
			got = append(got, fmt.Sprint(row.ID, row.Deleted, row.DeletedAt == nil))
		}
		position, more = feed.Next, feed.More
	}
	Want(t, fmt.Sprint(IDs(t, first.Items)), fmt.Sprint([]string{ID(1)}))
	Want(t, fmt.Sprint(got), fmt.Sprint([]string{ID(3) + "true true", ID(4) + "true true", ID(5) + "false true"}))
}

// After an older copy of the data folder took its place, a position of rows that the copy does not have is an error. It
// still is when new rows have reached its number. Positions before the copy stay valid.
func TestChanges_PositionAfterRestore(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	data, copied := filepath.Join(folder, "data"), filepath.Join(folder, "copy")
	end := func(numbers ...int) warehouse.FeedPosition {
		w := Open(t, data)
		defer func() { NoError(t, w.Close()) }()
		for _, n := range numbers {
			Merge(t, w, schema.Calls, Call(TenantA, n, nil))
		}
		_, position := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, 2)
		return position
	}
	kept := end(1, 2, 3)
	NoError(t, os.CopyFS(copied, os.DirFS(data)))
	lost := end(4, 5)
	if lost.Epoch == kept.Epoch {
		t.Error("two processes have one epoch")
	}
	NoError(t, os.RemoveAll(data))
	NoError(t, os.Rename(copied, data))
	for _, numbers := range [][]int{nil, {6, 7, 8, 9}} {
		end(numbers...)
		w := Open(t, data)
		if _, err := w.Changes(t.Context(), TenantA, schema.Calls, schema.Filter{}, lost, 5); !errors.Is(err,
			warehouse.ErrPositionLost) {
			t.Errorf("after %d new rows: got %v, want ErrPositionLost", len(numbers), err)
		}
		feed := Changes(t, w, schema.Calls, schema.Filter{}, kept, 5)
		Want(t, fmt.Sprint(len(feed.Items)), fmt.Sprint(len(numbers)))
		NoError(t, w.Close())
	}
}

// A client that follows the feed during merges ends with exactly the stored rows.
func TestChanges_ConcurrentMerges(t *testing.T) {
	t.Parallel()
	w := OpenNew(t)
	const rounds, rows = 12, 30
	var group sync.WaitGroup
	done := make(chan struct{})
	group.Go(func() {
		defer close(done)
		for round := range rounds {
			var batch []any
			for n := range rows {
				switch (n*7 + round*11) % 5 {
				case 0:
					batch = append(batch, Deletion(n, fmt.Sprintf("2026-06-01T00:%02d:00Z", round)))
				case 1, 2:
					batch = append(batch, Call(TenantA, n, Row{"status": fmt.Sprint(round),
						"updated_at": fmt.Sprintf("2026-06-01T00:%02d:00Z", round)}))
				}
			}
			if _, _, err := w.Merge(t.Context(), warehouse.Batch{Dataset: schema.Calls, Origin: "x",
				Rows: Lines(t, batch...)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	kept := map[string]string{}
	at := warehouse.FeedPosition{}
	for last := false; ; {
		var items []string
		items, at = Follow(t, w, schema.Calls, at, 7)
		for _, item := range items {
			if c := changedItem(t, item); c.Deleted {
				delete(kept, c.ID)
			} else {
				kept[c.ID] = c.Status
			}
		}
		if last {
			break
		}
		select {
		case <-done:
			last = true // read once more, for changes since the last read
		default:
		}
	}
	group.Wait()
	page, err := w.List(t.Context(), TenantA, schema.Calls, warehouse.Listing{Limit: 1000})
	NoError(t, err)
	expected := map[string]string{}
	for _, item := range page.Items {
		c := changedItem(t, item)
		expected[c.ID] = c.Status
	}
	if len(expected) == 0 || !maps.Equal(kept, expected) {
		t.Fatalf("got rows %v from the feed, want %v", kept, expected)
	}
}

// A large batch has several sequence numbers. The feed returns each of its rows once, whether the rows are sorted or
// not.
func TestChanges_LargeBatch(t *testing.T) {
	t.Parallel()
	for name, apart := range map[string]int{"of a day": 0, "scattered": 300} {
		t.Run(name, func(t *testing.T) {
			w := OpenNew(t)
			const rows = 9000 // fewer are never sorted
			var batch []any
			for n := range rows {
				batch = append(batch, Call(TenantA, n*7919%rows,
					Row{"created_at": fmt.Sprintf("20%02d-03-01", n*apart/rows%28+10)}))
			}
			Merge(t, w, schema.Calls, batch...)
			items, end := Follow(t, w, schema.Calls, warehouse.FeedPosition{}, 700)
			found := IDs(t, items)
			slices.Sort(found)
			if len(found) != rows || len(slices.Compact(found)) != rows {
				t.Fatalf("got %d items, want %d", len(found), rows)
			}
			seq := Changes(t, w, schema.Calls, schema.Filter{}, end, 1).Seq
			if end.Seq != seq || seq > 1+rows/2048 {
				t.Fatalf("got end of the feed %v, want sequence number %d", end, seq)
			}
			if items, _ := Follow(t, w, schema.Calls, warehouse.AfterCommit(seq), 700); len(items) > 0 {
				t.Errorf("got %d changes after the end, want none", len(items))
			}
		})
	}
}
