package warehousetest

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/uuid"

	"github.com/voicory/warehouse/warehouse"
	"github.com/voicory/warehouse/warehouse/schema"
)

// Numbered returns the n-th of 256 tenants, in the order of their ids.
func Numbered(n int) uuid.UUID {
	tenant := TenantA
	tenant[15] = byte(n)
	return tenant
}

// Want requires a text.
func Want(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("got %s\nwant %s", got, want)
	}
}

// Publish publishes the changes of all tenants.
func Publish(t testing.TB, w *warehouse.Warehouse) warehouse.Published {
	t.Helper()
	published, err := w.Publish(t.Context())
	NoError(t, err)
	return published
}

// WantPublished publishes, and checks the number of files and rows that were written.
func WantPublished(t testing.TB, w *warehouse.Warehouse, files int, rows int64) {
	t.Helper()
	if got, want := Publish(t, w), (warehouse.Published{Files: files, Rows: rows}); got != want {
		t.Fatalf("got %+v published, want %+v", got, want)
	}
}

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	NoError(t, err)
	return string(text)
}

// IDs returns the ids of items of a page.
func IDs(t testing.TB, items []string) (ids []string) {
	t.Helper()
	for _, item := range items {
		var row struct{ ID string }
		NoError(t, json.Unmarshal([]byte(item), &row))
		ids = append(ids, row.ID)
	}
	return ids
}

// Changes returns a page of tenant A's feed.
func Changes(t testing.TB, w *warehouse.Warehouse, dataset schema.Dataset, filter schema.Filter,
	after warehouse.FeedPosition, limit int64) warehouse.Feed {
	t.Helper()
	feed, err := w.Changes(t.Context(), TenantA, dataset, filter, after, limit)
	NoError(t, err)
	return feed
}

// Follow reads tenant A's feed from a position to its end, in pages of limit, and returns the items and the position of
// the end.
func Follow(t testing.TB, w *warehouse.Warehouse, dataset schema.Dataset, after warehouse.FeedPosition,
	limit int64) ([]string, warehouse.FeedPosition) {
	t.Helper()
	var items []string
	for {
		feed := Changes(t, w, dataset, schema.Filter{}, after, limit)
		if int64(len(feed.Items)) > limit || feed.More && int64(len(feed.Items)) < limit {
			t.Fatalf("page of at most %d items: got %d items, more %v", limit, len(feed.Items), feed.More)
		}
		if feed.Next.Seq > feed.Seq {
			t.Fatalf("got next position %v beyond the snapshot's sequence number %d", feed.Next, feed.Seq)
		}
		items = append(items, feed.Items...)
		after = feed.Next
		if !feed.More {
			return items, after
		}
	}
}

// Quarantined lists at most limit refusals.
func Quarantined(t testing.TB, w *warehouse.Warehouse, limit int) (refusals []warehouse.Refusal, err error) {
	t.Helper()
	for refusal, err := range w.Quarantine(t.Context()) {
		if err != nil || len(refusals) == limit {
			return refusals, err
		}
		refusals = append(refusals, refusal)
	}
	return refusals, nil
}

// Noise returns 1,200 characters that compress badly. They depend on the seed only.
func Noise(seed int) string {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	var text [600]byte
	_, _ = rand.NewChaCha8(key).Read(text[:]) // returns no error
	return hex.EncodeToString(text[:])
}
