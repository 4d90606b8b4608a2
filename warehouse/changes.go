package warehouse

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	statements "github.com/voicory/warehouse/sql"
)

// FeedPosition is a place in a tenant's change feed: after the row ID of the commit Seq; the zero one is its beginning. A
// commit of many rows takes several numbers, of which [Feed].Seq is the last.
type FeedPosition struct {
	Seq int64
	ID  uuid.UUID
}

// AfterCommit is the place after all of a commit.
func AfterCommit(seq int64) FeedPosition { return FeedPosition{seq, uuid.Max} }

// Feed is one page of a dataset's changes.
type Feed struct {
	Items []string     // JSON objects as the API shows them in lists; a deleted row is {"id":…,"deleted":true,"deleted_at":"2026-…Z"}
	Next  FeedPosition // after the last of Items; where there are none, the position that was asked for
	More  bool         // there are changes after Next
	Seq   int64        // the newest commit in the snapshot that the page was read from
}

// Changes reads up to limit changes after a position, in the order of commits, and of ids within each. Every row that a
// filter holds for and that the source has not deleted comes once, at the place of the commit that last changed it and as it
// is now; a deleted row comes whatever the filter is, since it has no values left to compare. Who follows Next until More is
// false, and asks again later, has missed nothing: a row that changes meanwhile comes again, further on.
func (w *Warehouse) Changes(ctx context.Context, tenant uuid.UUID, dataset Dataset, filter Filter, after FeedPosition, limit int64) (feed Feed, err error) {
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
	tx, err := begin(ctx, store.db)
	if err != nil {
		return feed, err
	}
	defer tx.Rollback() // it only reads

	feed.Next = after
	if err := tx.QueryRowContext(ctx, statements.Get("pages/seq")).Scan(&feed.Seq); err != nil {
		return feed, err
	}
	args := append(filter.args(dataset), sql.Named("seq", after.Seq), sql.Named("id", after.ID.String()), sql.Named("limit", limit+1))
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
