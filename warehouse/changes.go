package warehouse

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
	"github.com/voicory/warehouse/warehouse/duckdb"
	"github.com/voicory/warehouse/warehouse/schema"
)

// A FeedPosition is a place in the change feed of a tenant, after the row with ID and the sequence number Seq. The zero
// value is the start of the feed.
type FeedPosition struct {
	Seq int64
	ID  uuid.UUID
}

// AfterCommit returns the position after all rows with the sequence number seq and lower ones.
func AfterCommit(seq int64) FeedPosition { return FeedPosition{seq, uuid.Max} }

// A Feed is a page of the changes of a dataset.
type Feed struct {
	// Items are JSON objects in the format of lists. A deleted row is {"id":…,"deleted":true,"deleted_at":"2026-…Z"}.
	Items []string
	Next  FeedPosition // position after the last item; the requested position if there are no items
	More  bool         // whether there are changes after Next
	Seq   int64        // highest sequence number in the snapshot of the page; a large commit has several
}

// Changes returns at most limit changes after a position, ordered by sequence number and id. Each row appears once,
// with its current values, at the sequence number of the commit that last changed it. The filter does not apply to
// deleted rows, because they have no values to compare. A client that follows Next until More is false, and continues
// from there later, misses no change: a row that changes in the meantime appears again at a higher sequence number.
func (w *Warehouse) Changes(
	ctx context.Context, tenant uuid.UUID, dataset schema.Dataset, filter schema.Filter, after FeedPosition, limit int64,
) (feed Feed, err error) {
	store, release, err := w.reader(ctx, tenant)
	if err != nil {
		return feed, err
	}
	defer release()
	defer func() {
		if err != nil {
			err = fmt.Errorf("changes of %s: %w", dataset.Name, err)
		}
	}()
	tx, err := duckdb.Begin(ctx, store.db)
	if err != nil {
		return feed, err
	}
	defer tx.Rollback() // the transaction only reads

	feed.Next = after
	if err := tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&feed.Seq); err != nil {
		return feed, err
	}
	args := append(filter.Args(dataset),
		sql.Named("seq", after.Seq), sql.Named("id", after.ID.String()), sql.Named("limit", limit+1))
	rows, err := tx.QueryContext(ctx, statements.Page("changes", dataset.Name), args...)
	if err != nil {
		return feed, err
	}
	defer rows.Close()
	for rows.Next() {
		if int64(len(feed.Items)) == limit {
			feed.More = true
			break
		}
		var item string
		if err := rows.Scan(&feed.Next.Seq, &feed.Next.ID, &item); err != nil {
			return feed, err
		}
		feed.Items = append(feed.Items, item)
	}
	return feed, rows.Err()
}
